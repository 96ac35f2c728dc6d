// The view in the page's address, as in `#explorer?a=regnetz:500mf_a1_x10&b=efficientnet:b4_dWr_x1`.
"use strict";
const Links = (() => {
  const PREFIX = "#explorer?";
  const WAIT = 150; // ms; browsers refuse many changes in a row, as a slider makes them

  function hash(state) {
    const sides = Object.entries(state).filter(([, choice]) => choice);
    return PREFIX + sides.map(([side, choice]) => `${side}=${Grid.address(choice)}`).join("&");
  }

  // The view of an address, and what of it the page does not have; null: it has no view.
  function read(text) {
    if (!text.startsWith(PREFIX)) return null;
    const given = new URLSearchParams(text.slice(PREFIX.length));
    const state = { a: null, b: null };
    const unknown = [];
    for (const side of ["a", "b"]) {
      const wanted = given.get(side);
      if (!wanted) continue;
      state[side] = Grid.parsed(wanted);
      if (!state[side]) unknown.push(`${wanted} is no network of this page`);
      else if (![Grid.address(state[side]), Grid.variant(state[side])].includes(wanted)) {
        unknown.push(`${wanted} is not on this page; the nearest, ${Grid.variant(state[side])}, is shown`);
      }
    }
    return { state, unknown };
  }

  // The view to begin with: the address's, or the one that this tab had when it went elsewhere.
  function first() {
    return read(location.hash) || read(history.state?.explorer || "");
  }

  let timer = 0;
  function write(state) {
    clearTimeout(timer);
    timer = setTimeout(() => keep(state, hash(state)), WAIT);
  }

  function keep(state, url) {
    try {
      history.replaceState({ explorer: hash(state) }, "", url);
    } catch {
      // the view works without an address
    }
  }

  // Calls `show` when a view is followed; on other links the tab keeps the view that it has.
  function follow(show, current) {
    addEventListener("hashchange", () => {
      const found = read(location.hash);
      if (found) show(found);
      else keep(current(), location.href);
    });
  }

  function whole(state) {
    return location.href.split("#")[0] + hash(state);
  }

  return { first, write, follow, whole };
})();
