// The page is shown in Airflow's own, on the same origin, and follows its light or dark mode.
"use strict";

const follow = (airflow) => {
  document.documentElement.dataset.theme = airflow.classList.contains("dark") ? "dark" : "light";
};

if (window.parent !== window) {
  const airflow = window.parent.document.documentElement;
  follow(airflow);
  new MutationObserver(() => follow(airflow)).observe(airflow, { attributes: true, attributeFilter: ["class"] });
}
