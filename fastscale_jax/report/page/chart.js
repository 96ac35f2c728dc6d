// Activations against flops of every strategy, as SVG; colours are the style sheet's.
"use strict";
const Chart = (() => {
  const WIDTH = 640;
  const HEIGHT = 520;
  const EDGE = { left: 86, right: 12, top: 12, bottom: 48 };
  const STEPS = [1, 2, 5];
  const SIZE = 4; // of a mark
  // strategies differ in dashes and marks, too
  const DASHES = ["", "5 3", "9 3 2 3", "2 2", "12 4"];
  const MARKS = [
    "M-1-1h2v2h-2z", "M0-1.3L1.2 1H-1.2z", "M0 1.3L1.2-1H-1.2z", "M0-1.4L1.4 0 0 1.4-1.4 0z",
    "M-1.1-1.1L1.1 1.1M1.1-1.1L-1.1 1.1", "M0-1.3V1.3M-1.3 0H1.3", "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0",
  ];
  const EVERY = 5; // networks that have a mark

  function made(name, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  // A logarithmic scale from an interval to pixels.
  function scale(values, from, to) {
    const low = Math.log(Math.min(...values) / 1.1);
    const high = Math.log(Math.max(...values) * 1.1);
    const place = (value) => from + ((Math.log(value) - low) / (high - low)) * (to - from);
    return { place, ticks: ticks(Math.exp(low), Math.exp(high)) };
  }

  function ticks(low, high) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) {
      found.push(...STEPS.map((step) => step * 10 ** power).filter((tick) => tick >= low && tick <= high));
    }
    return found;
  }

  function short(amount) {
    const [unit, letter] = Grid.unit(amount);
    return `${Number((amount / unit).toPrecision(3))}${letter}`;
  }

  function axes(x, y) {
    const bottom = HEIGHT - EDGE.bottom;
    const lines = [
      ...x.ticks.map((tick) => `M${x.place(tick)} ${EDGE.top}V${bottom}`),
      ...y.ticks.map((tick) => `M${EDGE.left} ${y.place(tick)}H${WIDTH - EDGE.right}`),
    ];
    const along = `translate(16 ${(EDGE.top + bottom) / 2}) rotate(-90)`;
    return [
      made("path", { d: lines.join(""), class: "lines" }),
      ...x.ticks.map((tick) => made("text", { x: x.place(tick), y: bottom + 16, "text-anchor": "middle" }, short(tick))),
      ...y.ticks.map((tick) => made("text", { x: EDGE.left - 6, y: y.place(tick) + 4, "text-anchor": "end" }, short(tick))),
      made("text", { x: (EDGE.left + WIDTH) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, "flops, an image"),
      made("text", { transform: along, "text-anchor": "middle" }, "activations, an image"),
    ];
  }

  // A line's look by its place among the strategies.
  function look(index) {
    const mark = MARKS[index % MARKS.length];
    return { dashes: DASHES[index % DASHES.length], mark };
  }

  function line(curve, index, places) {
    const { dashes, mark } = look(index);
    const path = places.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
    const marks = places
      .filter((_, i) => i % EVERY === index % EVERY)
      .map(([x, y]) => made("path", { d: mark, transform: `translate(${x} ${y}) scale(${SIZE})`, class: "mark-of" }));
    const style = `curve curve-${Grid.isAlpha(curve.strategy) ? "alpha" : curve.strategy}`;
    const group = made("g", { class: curve.isChosen ? `${style} is-chosen` : style, "data-strategy": curve.strategy });
    group.append(made("path", { d: path, "stroke-dasharray": dashes, class: "line-of" }), ...marks);
    return group;
  }

  // A ring around a chosen network, with its letter.
  function ring({ letter, flops, acts }, x, y) {
    const place = [x.place(flops), y.place(acts)];
    return made("g", { class: "ring", "data-of": letter, "data-flops": flops, "data-acts": acts },
      made("circle", { cx: place[0], cy: place[1], r: 9 }),
      made("text", { x: place[0] - 12, y: place[1] - 10, "text-anchor": "end" }, letter.toUpperCase()));
  }

  function legend(curves) {
    const list = document.createElement("ul");
    list.className = "legend-of-curves";
    curves.forEach((curve, index) => {
      const item = document.createElement("li");
      const { dashes, mark } = look(index);
      const sample = made("svg", { width: 34, height: 12, viewBox: "0 0 34 12", "aria-hidden": "true" });
      sample.setAttribute("class", `curve curve-${Grid.isAlpha(curve.strategy) ? "alpha" : curve.strategy}`);
      sample.append(
        made("path", { d: "M0 6H34", "stroke-dasharray": dashes, class: "line-of" }),
        made("path", { d: mark, transform: `translate(17 6) scale(${SIZE})`, class: "mark-of" }));
      item.append(sample, ` ${curve.title}`);
      list.append(item);
    });
    return list;
  }

  // Draws curves of networks, each with `flops`, `acts` and `name`, and rings around the chosen;
  // `pick` is told which network was clicked, by its curve and its index.
  function draw(target, curves, chosen, pick) {
    const all = [...curves.flatMap((curve) => curve.networks), ...chosen];
    const x = scale(all.map((each) => each.flops), EDGE.left, WIDTH - EDGE.right);
    const y = scale(all.map((each) => each.acts), HEIGHT - EDGE.bottom, EDGE.top);
    const places = curves.map((curve) => curve.networks.map((each) => [x.place(each.flops), y.place(each.acts)]));
    const svg = made("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "Activations against flops, by strategy" });
    svg.append(...axes(x, y), ...curves.map((curve, index) => line(curve, index, places[index])), ...chosen.map((each) => ring(each, x, y)));
    const under = document.createElement("p");
    under.className = "note under";
    const idle = "Point at a curve to read a network; click to choose it as A.";
    under.textContent = idle;

    function near(event) {
      const box = svg.getBoundingClientRect();
      const px = ((event.clientX - box.left) / box.width) * WIDTH;
      const py = ((event.clientY - box.top) / box.height) * HEIGHT;
      let best = { away: 20 ** 2 };
      places.forEach((line, curve) => line.forEach(([a, b], index) => {
        const away = (a - px) ** 2 + (b - py) ** 2;
        if (away < best.away) best = { away, curve, index };
      }));
      return best;
    }

    svg.addEventListener("pointermove", (event) => {
      const { curve, index } = near(event);
      under.textContent = curve === undefined ? idle : curves[curve].networks[index].name;
    });
    svg.addEventListener("pointerleave", () => { under.textContent = idle; });
    svg.addEventListener("click", (event) => {
      const { curve, index } = near(event);
      if (curve !== undefined) pick(curves[curve].strategy, index);
    });
    target.replaceChildren(svg, under, legend(curves));
  }

  return { draw };
})();
