"use strict";
// Live parts of a page. All text that arrives as HTML was escaped by the server; log lines are set as text.
const trouble = document.getElementById("trouble");
function listen(address, handlers) {
  const source = new EventSource(address);
  const show = (text) => { if (trouble) { trouble.textContent = text; trouble.hidden = !text; } };
  for (const [name, handle] of Object.entries(handlers)) source.addEventListener(name, (e) => { show(""); handle(e.data); });
  source.addEventListener("trouble", (e) => show(e.data));
  source.addEventListener("end", () => source.close());
  return source;
}
const live = document.getElementById("live");
if (live && live.dataset.events) listen(live.dataset.events, { live: (html) => { live.innerHTML = html; } });
const log = document.getElementById("log"), filter = document.getElementById("log-filter");
const KEEP = 2000;
let lines = [], source = null;
function readLog() {
  if (source) source.close();
  lines = []; log.textContent = "";
  const words = new URLSearchParams(new FormData(filter));
  words.delete("follow");
  source = listen(log.dataset.events + "?" + words, { lines: (text) => {
    lines = lines.concat(JSON.parse(text)).slice(-KEEP);
    log.textContent = lines.join("\n");
    if (filter.elements.follow.checked) log.scrollTop = log.scrollHeight;
  } });
}
if (log && filter) { filter.addEventListener("submit", (e) => { e.preventDefault(); readLog(); }); readLog(); }
const search = document.querySelector("[role=search] input");
if (search) document.addEventListener("keydown", (e) => {
  if (e.key === "/" && !e.target.closest("input, select, textarea")) { e.preventDefault(); search.focus(); search.select(); }
});
