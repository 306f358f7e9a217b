"""Programs that run beside other systems and ask the service over HTTP. They import nothing of it:
each is one file, which `assistenza` prints."""
