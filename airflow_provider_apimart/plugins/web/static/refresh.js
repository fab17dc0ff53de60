// While pictures are being generated, what the page shows of them is replaced from time to time.
"use strict";

const control = document.getElementById("refresh");
const results = document.getElementById("results");

// Nothing changes under somebody who works in it, or who wants it to stay as it is.
const isWanted = () =>
  control.querySelector("input").checked && !document.hidden && !results.contains(document.activeElement);

const readPage = async () => {
  const answer = await fetch(window.location.href);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
};

const show = (page) => {
  results.replaceChildren(...page.getElementById("results").childNodes);
  // The page has none when nothing is generated any more.
  control.hidden = !page.getElementById("refresh");
};

const refresh = async () => {
  const said = control.querySelector("output");
  try {
    const page = await readPage();
    if (isWanted()) show(page);
    said.textContent = "";
  } catch {
    said.textContent = "Airflow gave no answer. Load the page again: you may have to sign in.";
  }
};

const waitAndRefresh = () =>
  setTimeout(async () => {
    if (isWanted()) await refresh();
    if (!control.hidden) waitAndRefresh();
  }, Number(control.dataset.seconds) * 1000);

if (control) {
  control.hidden = false;
  waitAndRefresh();
}
