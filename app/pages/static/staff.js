// Pages of staff work without this. It adds keys, and shows what others do without a reload.
"use strict";

const root = document.documentElement;
const MINIMUM_MS = 3000; // between two requests, whatever happens
const POLL_MS = 20000; // where no stream is allowed

// Keys: `data-key` names the key that presses or focuses an element, `data-focus` the one that
// leads into a form. They can be switched off (WCAG 2.1.4).

let keys = localStorage.getItem("keys") !== "off";
const toggle = document.querySelector("[data-shortcuts]");

function showKeys() {
  root.classList.toggle("no-keys", !keys);
  if (toggle) {
    toggle.hidden = false;
    toggle.textContent = keys ? toggle.dataset.on : toggle.dataset.off;
    toggle.setAttribute("aria-pressed", String(keys));
  }
}
showKeys();
toggle?.addEventListener("click", () => {
  keys = !keys;
  localStorage.setItem("keys", keys ? "on" : "off");
  showKeys();
});

const isField = (element) => element.matches("input, textarea, select");

function enter(place) {
  const field = place.querySelector("input:not([type=hidden]), textarea, select");
  field?.focus();
  field?.scrollIntoView({ block: "center" });
}

function moveRow(step) {
  const rows = [...document.querySelectorAll("[data-row]")];
  const at = rows.indexOf(document.activeElement);
  rows[Math.min(Math.max(at + step, 0), rows.length - 1)]?.focus();
}

document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && target.form) {
    event.preventDefault();
    target.form.requestSubmit();
    return;
  }
  if (event.key === "Escape" && isField(target)) {
    target.blur();
    return;
  }
  if (!keys || event.ctrlKey || event.metaKey || event.altKey || isField(target)) return;
  if (event.key === "j" || event.key === "k") {
    moveRow(event.key === "j" ? 1 : -1);
    return;
  }
  const name = CSS.escape(event.key);
  const place = document.querySelector(`[data-focus="${name}"]`);
  const pressed = document.querySelector(`[data-key="${name}"]`);
  if (!place && !pressed) return;
  event.preventDefault();
  if (place) enter(place);
  else if (isField(pressed)) pressed.focus();
  else pressed.click();
});

// A form is sent once, and not left by mistake.

const isDirty = (field) =>
  field.type === "checkbox" ? field.checked !== field.defaultChecked
    : field.tagName === "SELECT" ? [...field.options].some((one) => one.selected !== one.defaultSelected && one.defaultSelected)
    : field.type !== "hidden" && field.value !== field.defaultValue;

const isBusy = (part) =>
  part.contains(document.activeElement) && isField(document.activeElement)
  || [...part.querySelectorAll("input, textarea, select")].some(isDirty)
  || part.querySelector("details[open]") !== null;

let sending = false;
document.addEventListener("submit", (event) => {
  if (sending) event.preventDefault();
  sending = true;
});
addEventListener("pageshow", () => { sending = false; });
addEventListener("beforeunload", (event) => {
  const guarded = [...document.querySelectorAll("form[data-guard] input, form[data-guard] textarea")];
  if (!sending && guarded.some(isDirty)) event.preventDefault();
});

// A file that is too large is refused before it is sent.

const file = document.querySelector("[data-most-bytes]");
file?.addEventListener("change", () => {
  const error = document.getElementById(`${file.id}-error`);
  const isTooLarge = file.files.length > 0 && file.files[0].size > Number(file.dataset.mostBytes);
  error.hidden = !isTooLarge;
  error.querySelector("span").textContent = file.dataset.tooLarge;
  file.closest(".field").classList.toggle("wrong", isTooLarge);
  file.setAttribute("aria-invalid", String(isTooLarge));
  file.form.querySelector("[type=submit]").disabled = isTooLarge;
});

// Parts marked `data-live` are replaced by what the page now says, unless somebody types in them.

const live = [...document.querySelectorAll("[data-live]")];
let etag = null, last = 0, waiting = 0, busy = false;

async function refresh() {
  waiting = 0;
  if (busy || document.hidden) return;
  busy = true;
  last = Date.now();
  try {
    const answer = await fetch(location.href, {
      headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store", redirect: "error",
    });
    if (answer.status !== 200) return;
    etag = answer.headers.get("ETag");
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const { id } of live) {
      const old = document.getElementById(id), now = fresh.getElementById(id);
      if (!old || !now || isBusy(old) || withoutKeys(old) === withoutKeys(now)) continue;
      const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      old.replaceWith(document.adoptNode(now));
      if (focused) now.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    }
  } catch {
    // The next event, or the next turn, asks again.
  } finally {
    busy = false;
  }
}

// Every answer has new keys for its forms, which change nothing that is to be seen.
const withoutKeys = (part) => part.innerHTML.replace(/name="form_key" value="\w*"/g, "");

function soon() {
  waiting ||= setTimeout(refresh, Math.max(0, last + MINIMUM_MS - Date.now()));
}

let stream = null;
const HEARD = ["opened", "assigned", "state_changed", "changed", "reclassified", "commented", "responded",
  "response_missed", "closed", "reopened", "cancelled", "moved"].map((one) => `case.${one}`)
  .concat("time.recorded", "time.reversed");

// A hidden page holds no connection: browsers have few for each host.
function listen() {
  const address = document.querySelector("[data-live][data-stream]")?.dataset.stream;
  if (!address || document.hidden || stream) return;
  stream = new EventSource(address);
  for (const name of HEARD) stream.addEventListener(name, soon);
}

if (live.length) {
  listen();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { stream?.close(); stream = null; } else { listen(); soon(); }
  });
  setInterval(() => {
    const ended = stream?.readyState === EventSource.CLOSED;
    if (ended) { stream = null; listen(); }
    if (ended || !stream) soon();
  }, Number(live[0].dataset.every || POLL_MS));
}
