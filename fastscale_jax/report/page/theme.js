// Light or dark: as the system says, or as was chosen on this page before.
"use strict";
const Theme = (() => {
  const KEY = "fastscale-report-theme";
  const CHOICES = ["light", "dark"];

  // a browser may refuse pages that are files, or private windows, any memory
  function remembered() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  }

  function remember(choice) {
    try {
      if (choice) localStorage.setItem(KEY, choice);
      else localStorage.removeItem(KEY);
    } catch {
      // it holds until the page is left
    }
  }

  function apply(choice) {
    if (CHOICES.includes(choice)) document.documentElement.dataset.theme = choice;
    else delete document.documentElement.dataset.theme;
  }

  function offer(label, select) {
    select.value = document.documentElement.dataset.theme || "";
    select.addEventListener("change", () => {
      apply(select.value);
      remember(select.value);
    });
    label.hidden = false;
  }

  apply(remembered()); // before anything is painted
  return { offer };
})();
