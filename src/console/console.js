// A live tail where a page offers one, and keys. Every page works without this file.
"use strict";

const live = document.getElementById("live");
const rows = document.getElementById("rows");

if (live && live.dataset.live && rows) {
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  label.append(box, " Live: new entries come in at the top");
  live.append(label);
  let address = new URL(live.dataset.live, location.href);
  let busy = false;
  const look = async () => {
    if (!box.checked || busy || document.hidden) return;
    busy = true;
    try {
      const answer = await fetch(address, { credentials: "same-origin" });
      const newest = answer.headers.get("x-newest");
      if (!answer.ok || newest === null) throw new Error(`status ${answer.status}`);
      const found = new DOMParser().parseFromString(`<table><tbody>${await answer.text()}</tbody></table>`, "text/html");
      const fresh = [...found.querySelectorAll("tr")];
      fresh.forEach((row) => row.classList.add("fresh"));
      rows.prepend(...fresh);
      while (rows.rows.length > 500) rows.deleteRow(-1);
      address.searchParams.set("after", newest);
      const none = document.getElementById("none");
      if (none && rows.rows.length > 0) none.remove();
    } catch (error) {
      box.checked = false;
      label.append(` (it stopped: ${error.message})`);
    }
    busy = false;
  };
  setInterval(look, 2000);
}

const state = document.getElementById("state");
if (state && state.dataset.going === "true") setTimeout(() => location.reload(), 1500);

// j and k go through the rows, Enter opens one, / goes to the search, o, t and v to pages.
const pages = { o: "/console", t: "/console/tunnels", v: "/console/verify" };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const links = rows ? [...rows.querySelectorAll("tr td:first-child a")] : [];
  const at = links.indexOf(document.activeElement);
  if (event.key === "j" && links.length > 0) links[Math.min(at + 1, links.length - 1)].focus();
  else if (event.key === "k" && links.length > 0) links[Math.max(at - 1, 0)].focus();
  else if (event.key === "/") {
    const field = document.querySelector("form.search input");
    if (field) field.focus();
    else location.assign("/console/search");
  } else if (pages[event.key]) location.assign(pages[event.key]);
  else return;
  event.preventDefault();
});
