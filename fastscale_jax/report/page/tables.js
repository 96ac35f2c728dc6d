// The explorer's tables. `sides` are the chosen networks: one, or two to compare.
"use strict";
const Tables = (() => {
  const element = (name) => document.getElementById(`explorer-${name}`);
  const DASH = "–";
  const COSTS = ["flops", "params", "acts"];
  const COLUMNS = ["images", "memory", "step, at least", "images/s, at most", "compiled"]; // of a program

  function human(amount) {
    const [unit, letter] = Grid.unit(amount);
    return `${(amount / unit).toPrecision(4)} ${letter}`.trim();
  }

  function exact(amount) {
    return amount.toLocaleString("en-GB");
  }

  // A figure for people, with the whole number where the pointer rests on it.
  function show(target, amount) {
    target.textContent = human(amount);
    target.title = exact(amount);
    target.dataset.exact = String(amount);
  }

  function badge(text, title) {
    const mark = document.createElement("span");
    mark.className = "beyond";
    mark.textContent = text;
    mark.title = title;
    return mark;
  }

  function milliseconds(time) {
    return `${time < 100 ? time.toPrecision(3) : exact(Math.round(time))} ms`;
  }

  function showTime(target, network) {
    target.textContent = milliseconds(network.step_ms);
    if (!network.is_covered) target.append(" ", badge("beyond", "beyond what was measured"));
  }

  function cell(row, text, isNumber = true) {
    const made = row.insertCell();
    made.className = isNumber ? "number" : "words";
    made.textContent = text;
    return made;
  }

  // A ratio of the second to the first, which are told apart by more than colour.
  function ratio(row, one, other, why = "") {
    const made = cell(row, why ? DASH : `× ${(other / one).toPrecision(3)}`);
    if (why) made.title = why;
    return made;
  }

  function emptied(name) {
    const body = element(name).tBodies[0];
    body.replaceChildren();
    return body;
  }

  function headings(name, titles) {
    const row = element(name).tHead.rows[0];
    row.replaceChildren(...titles.map(([text, isNumber = true]) => {
      const made = document.createElement("th");
      made.scope = "col";
      made.className = isNumber ? "number" : "words";
      made.textContent = text;
      return made;
    }));
  }

  // "width A", "width B" where there are two networks
  function ofEach(sides, titles) {
    if (sides.length === 1) return titles.map((title) => [title]);
    return sides.flatMap(({ letter }) => titles.map((title) => [`${title} ${letter.toUpperCase()}`]));
  }

  function showDifferences(sides) {
    element("differences-part").hidden = sides.length < 2;
    if (sides.length < 2) return;
    const [a, b] = sides.map((side) => side.network);
    headings("differences", [["", false], ["A"], ["B"], ["B ÷ A"]]);
    const body = emptied("differences");
    const add = (name, figures, fill) => {
      const row = body.insertRow();
      row.dataset.name = name;
      cell(row, name, false);
      for (const figure of figures) fill(cell(row, ""), figure);
      return row;
    };
    for (const cost of COSTS) ratio(add(cost, [a[cost], b[cost]], show), a[cost], b[cost]);
    const blocks = (network) => network.depths.reduce((sum, depth) => sum + depth, 0);
    const sizes = {
      "resolution, px": [a.resolution, b.resolution],
      "blocks": [blocks(a), blocks(b)],
      "largest width": [Math.max(...a.widths), Math.max(...b.widths)],
    };
    for (const [name, [one, other]] of Object.entries(sizes)) {
      const row = add(name, [one, other], (target, amount) => {
        target.textContent = exact(amount);
        target.dataset.exact = String(amount);
      });
      ratio(row, one, other);
    }
    if (Grid.data.device) ratio(add("a training step, estimated", [a, b], showTime), a.step_ms, b.step_ms);
  }

  function showStages(sides) {
    headings("stages", [["stage", false], ...ofEach(sides, ["depth", "width", "group width"])]);
    const body = emptied("stages");
    const add = (name, amounts) => {
      const row = body.insertRow();
      cell(row, name, false);
      amounts.forEach((of, side) => of.forEach((amount, i) => {
        const made = cell(row, typeof amount === "number" ? exact(amount) : amount);
        if (side && amount !== amounts[0][i]) made.classList.add("differs");
      }));
    };
    const end = (name, width) => add(name, sides.map((side) => ["", width(side.network) || DASH, ""]));
    end("stem", (network) => network.stem_width);
    const stages = Math.max(...sides.map((side) => side.network.depths.length));
    for (let i = 0; i < stages; i += 1) {
      const lists = ["depths", "widths", "group_widths"];
      add(String(i + 1), sides.map(({ network }) => lists.map((list) => network[list][i] ?? DASH)));
    }
    end("head", (network) => network.head_width);
    element("stages-note").hidden = sides.length < 2;
  }

  function showOthers(sides) {
    const [{ choice }] = sides;
    const body = emptied("others");
    for (const strategy of Grid.compared([choice])) {
      const network = Grid.network({ ...choice, strategy });
      const row = body.insertRow();
      row.dataset.strategy = strategy;
      row.classList.toggle("is-chosen", strategy === choice.strategy);
      cell(row, Grid.title(strategy), false);
      for (const cost of COSTS) show(cell(row, ""), network[cost]);
      cell(row, String(network.resolution));
      if (Grid.data.device) showTime(cell(row, ""), network);
    }
  }

  function perSecond(figures) {
    return (1000 * figures.images) / figures.floor_ms;
  }

  // Why two figures cannot be set against each other; empty: they can.
  function apart(one, other) {
    if (!one || !other) return "not compiled";
    return one.source === other.source ? "" : "compiled on different dates";
  }

  function showFigures(row, figures) {
    if (!figures) {
      const made = cell(row, "not compiled", false);
      made.colSpan = COLUMNS.length;
      made.classList.add("absent");
      return;
    }
    const about = figures.between ? "≈ " : "";
    cell(row, exact(figures.images));
    const memory = cell(row, `${about}${(figures.memory_bytes / 1e9).toFixed(2)} GB`);
    memory.title = figures.between ? "interpolated" : `${exact(figures.memory_bytes)} bytes`;
    memory.dataset.exact = String(figures.memory_bytes);
    if (!figures.fits) memory.append(" ", badge("does not fit", "more than the device has for it"));
    cell(row, `${about}${milliseconds(figures.floor_ms)}`).dataset.floor = String(figures.floor_ms);
    cell(row, `${about}${exact(Math.round(perSecond(figures)))}`);
    const source = Grid.data.programs.sources[figures.source];
    const dated = cell(row, source.date);
    dated.title = source.versions;
    if (figures.between) dated.append(" ", badge(`between x${figures.between.join(" and x")}`, "interpolated between two compiled networks"));
  }

  // A row for each network of each setting.
  function showTargets(sides) {
    const isCompared = sides.length > 1;
    headings("targets", [
      ["device", false], ["batch", false], ...(isCompared ? [["network", false]] : []),
      ...COLUMNS.map((title) => [title]), ...(isCompared ? [["images/s, B ÷ A"]] : []),
    ]);
    const body = emptied("targets");
    Grid.data.programs.settings.forEach((setting, index) => {
      const found = sides.map((side) => side.programs.get(index));
      sides.forEach(({ letter }, side) => {
        const row = body.insertRow();
        Object.assign(row.dataset, { target: setting.target, batch: setting.images, of: letter });
        const named = cell(row, setting.target, false);
        named.title = setting.device;
        cell(row, `${setting.images || "largest"}, ${setting.dtype}`, false);
        if (isCompared) cell(row, letter.toUpperCase(), false);
        showFigures(row, found[side]);
        if (!isCompared) return;
        if (!side) return void cell(row, "");
        const why = apart(...found);
        const made = ratio(row, ...(why ? [1, 1] : found.map(perSecond)), why);
        if (!why && found.some((figures) => figures.between)) made.prepend("≈ ");
      });
    });
    showMissing(sides);
  }

  function note(...parts) {
    const made = document.createElement("p");
    made.className = "note";
    made.append(...parts);
    return made;
  }

  function code(text) {
    const made = document.createElement("code");
    made.textContent = text;
    return made;
  }

  // Says what is not known, and the commands that find it, one for each target.
  function showMissing(sides) {
    const { settings } = Grid.data.programs;
    const target = element("missing-programs");
    target.replaceChildren();
    for (const { letter, choice, programs } of sides) {
      const absent = [...new Set(settings.filter((each, i) => each.images && !programs.has(i)).map((each) => each.target))];
      if (!absent.length) continue;
      const of = sides.length > 1 ? ` of network ${letter.toUpperCase()}` : "";
      const shows = code(`fastscale report --output=report --programs=${absent.map(Grid.fileOf).join(",")}`);
      target.append(
        note(`There is no figure${of} on ${absent.join(", ")}. To compile it on a CPU:`),
        ...absent.map((each) => note(code(Grid.compiling(choice, each)))),
        note("and to show it: ", shows));
    }
  }

  function showAll(sides) {
    showDifferences(sides);
    showStages(sides);
    if (Grid.data.programs.settings.length) showTargets(sides);
    showOthers(sides);
  }

  return { show, showTime, showAll };
})();
