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
const isMarked = (part) => { const marked = getSelection(); return !marked.isCollapsed && marked.containsNode(part, true); };
let waiting = null; // what is new waits while somebody marks text; what was scrolled or has the focus stays so
function renewLive(html) {
  if (isMarked(live)) { waiting = html; return; }
  waiting = null;
  const parts = () => [...live.querySelectorAll(".card, .machines, pre")], old = parts();
  const focused = old.indexOf(document.activeElement), places = old.map((each) => [each.scrollLeft, each.scrollTop]);
  live.innerHTML = html;
  const fresh = parts();
  places.forEach(([left, top], number) => { if ((left || top) && fresh[number]) fresh[number].scrollTo(left, top); });
  if (focused >= 0 && fresh[focused]) fresh[focused].focus({ preventScroll: true });
}
if (live && live.dataset.events) listen(live.dataset.events, { live: renewLive });
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
    showLines();
  } });
}
function showLines() {
  const text = lines.join("\n");
  if (log.textContent === text || isMarked(log)) return;
  log.textContent = text;
  if (filter.elements.follow.checked) log.scrollTop = log.scrollHeight;
}
document.addEventListener("selectionchange", () => {
  if (waiting !== null) renewLive(waiting);
  if (log) showLines();
});
if (log && filter) { filter.addEventListener("submit", (e) => { e.preventDefault(); readLog(); }); readLog(); }
// The table of runs: the page is read again, and what differs is put in its place. Fields of the filter, ticks and the focus stay.
const runs = document.getElementById("runs");
const PAUSE_MS = 3000;
function isUsed(part) {
  return part.contains(document.activeElement) || part.querySelector("input:checked") || isMarked(part);
}
function renewPart(old, fresh) { if (old.innerHTML !== fresh.innerHTML && !isUsed(old)) old.innerHTML = fresh.innerHTML; }
function renewRow(row, fresh) {
  row.classList.remove("gone");
  [...fresh.cells].forEach((cell, number) => { if (number) renewPart(row.cells[number], cell); });
}
function dropRow(row) { // a run that no longer fits the filter stays while somebody uses its row
  if (!row.dataset.run || !isUsed(row)) return row.remove();
  row.classList.add("gone");
  row.querySelector(".now div").textContent = "no longer in this list";
}
function renewRows(fresh) {
  const rowsOf = (table) => [...table.querySelectorAll("tr[data-run]")];
  const old = new Map(rowsOf(runs).map((row) => [row.dataset.run, row])), wanted = rowsOf(fresh);
  const names = new Set(wanted.map((row) => row.dataset.run));
  for (const [name, row] of old) if (!names.has(name)) dropRow(row);
  let last = runs.rows[0];
  for (const row of wanted) {
    let here = old.get(row.dataset.run);
    if (here) renewRow(here, row);
    else { here = document.importNode(row, true); last.after(here); }
    last = here;
  }
}
async function renew() {
  const began = performance.now();
  if (!document.hidden) try {
    const answer = await fetch(location.href);
    if (!answer.ok) throw new Error("it answers " + answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    renewRows(fresh.getElementById("runs"));
    for (const name of ["problems", "pager"]) renewPart(document.getElementById(name), fresh.getElementById(name));
    document.getElementById("compare").hidden = fresh.getElementById("compare").hidden;
    trouble.hidden = true;
  } catch (error) { trouble.textContent = "this table is not renewed: " + error.message; trouble.hidden = false; }
  setTimeout(renew, Math.max(PAUSE_MS, 10 * (performance.now() - began))); // a slow answer is asked for less often
}
if (runs) setTimeout(renew, PAUSE_MS);
const search = document.querySelector("[role=search] input");
if (search) document.addEventListener("keydown", (e) => {
  if (e.key === "/" && !e.target.closest("input, select, textarea")) { e.preventDefault(); search.focus(); search.select(); }
});
