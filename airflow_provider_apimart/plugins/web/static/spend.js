// Draws the table of costs as a chart, in the colours of the page's mode, and asks for balances.
"use strict";

const dollars = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD", maximumFractionDigits: 4 });

const readTimeline = (table) => {
  const rows = [...table.tBodies[0].rows];
  return {
    labels: rows.map((row) => row.cells[0].textContent + (Number(row.dataset.unknown) ? " ?" : "")),
    unknown: rows.map((row) => Number(row.dataset.unknown)),
    series: [...table.tHead.querySelectorAll("[data-series]")].map((cell, place) => ({
      label: cell.textContent,
      data: rows.map((row) => Number(row.cells[place + 1].dataset.dollars)),
    })),
  };
};

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const datasetsOf = (series) =>
  series.map((part, place) => ({
    ...part,
    backgroundColor: colour(`--series-${place + 1}`),
    // A line between the parts of a bar, so that they can be told apart without their colours.
    borderColor: colour("--background"),
    borderWidth: 1,
  }));

const optionsOf = (unknown) => ({
  animation: false,
  maintainAspectRatio: false,
  interaction: { mode: "index", intersect: false },
  scales: {
    x: { stacked: true, ticks: { color: colour("--quiet") }, grid: { display: false } },
    y: {
      stacked: true,
      beginAtZero: true,
      ticks: { color: colour("--quiet"), callback: (value) => dollars.format(value) },
      grid: { color: colour("--border") },
    },
  },
  plugins: {
    legend: { position: "bottom", labels: { color: colour("--text") } },
    tooltip: {
      filter: (item) => item.raw > 0,
      callbacks: {
        label: (item) => `${item.dataset.label}: ${dollars.format(item.raw)}`,
        footer: ([item]) => (item && unknown[item.dataIndex] ? `and ${unknown[item.dataIndex]} of unknown cost` : ""),
      },
    },
  },
});

const draw = (figure, { labels, unknown, series }) => {
  figure.hidden = false;
  const data = { labels, datasets: datasetsOf(series) };
  const chart = new Chart(figure.querySelector("canvas"), { type: "bar", data, options: optionsOf(unknown) });
  const repaint = () => {
    chart.data.datasets = datasetsOf(series);
    chart.options = optionsOf(unknown);
    chart.update();
  };
  new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
};

const askBalance = async (form) => {
  const output = form.querySelector("output");
  const button = form.querySelector("button");
  button.disabled = true;
  output.textContent = "Asking the gateway…";
  try {
    const answer = await fetch(`${form.action}?${new URLSearchParams(new FormData(form))}`);
    const { message, at } = await answer.json();
    output.textContent = at ? `${message} (${new Date(at).toLocaleTimeString()})` : message;
  } catch {
    output.textContent = "Airflow gave no answer. Load the page again: you may have to sign in.";
  }
  button.disabled = false;
};

const timeline = document.getElementById("timeline");
if (timeline) {
  draw(document.getElementById("chart"), readTimeline(timeline.querySelector("table")));
  // Without a script it stays open, in place of the chart.
  timeline.open = false;
}

for (const form of document.querySelectorAll("form.balance")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    askBalance(form);
  });
}
