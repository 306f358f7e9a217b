from django.urls import include, path  # type: ignore[import-not-found]

urlpatterns = [path("", include("helpdesk.urls", namespace="helpdesk"))]
