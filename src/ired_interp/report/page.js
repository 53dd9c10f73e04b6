// The page is complete without this: it adds values at the pointer, a larger view of each plot, and tables that sort.
(() => {
  "use strict";
  document.body.classList.add("scripted");
  const add = (parent, kind, name) => {
    const made = parent.appendChild(document.createElement(kind));
    made.className = name;
    return made;
  };
  const value = add(document.body, "div", "value"), here = add(document.body, "div", "here");
  const dialog = add(document.body, "dialog", "");
  const hide = () => { value.hidden = here.hidden = true; };
  hide();

  // Values: the nearest mark within reach of the pointer. Places are fractions of the whole drawing.
  const REACH = 40;
  const inside = (svg, x, y) => {
    const box = svg.dataset.box.split(" ").map(Number);
    const place = new DOMPoint(box[0] + x * box[2], box[1] + y * box[3]).matrixTransform(svg.getScreenCTM());
    return [place.x, place.y];
  };
  const show = (svg, marks, event) => {
    let best = null, least = REACH;
    for (const point of marks.points) {
      const [x, y] = inside(svg, point[0], point[1]);
      const distance = Math.hypot(x - event.clientX, y - event.clientY);
      if (distance < least) { least = distance; best = { point, x, y }; }
    }
    if (!best) return hide();
    const [, , name, x, y] = best.point;
    value.textContent = [marks.names[name], x && `${marks.x}: ${x}`, y && `${marks.y}: ${y}`].filter(Boolean).join("\n");
    value.hidden = here.hidden = false;
    const host = svg.closest("dialog") || document.body;
    host.append(value, here);
    here.style.left = `${best.x}px`;
    here.style.top = `${best.y}px`;
    const wide = value.offsetWidth, high = value.offsetHeight;
    value.style.left = `${Math.max(4, Math.min(best.x + 14, innerWidth - wide - 4))}px`;
    value.style.top = `${best.y - high - 12 < 4 ? best.y + 14 : best.y - high - 12}px`;
  };

  // A larger view: the wheel and + and − magnify around the pointer, dragging moves, a double click shows all.
  const view = (svg, x, y, width, height) => svg.setAttribute("viewBox", [x, y, width, height].join(" "));
  const whole = svg => svg.setAttribute("viewBox", svg.dataset.box);
  const magnify = (svg, factor, clientX, clientY) => {
    const box = svg.viewBox.baseVal, all = svg.dataset.box.split(" ").map(Number);
    if (box.width * factor >= all[2]) return whole(svg);
    if (box.width * factor < all[2] / 60) return;
    const at = new DOMPoint(clientX, clientY).matrixTransform(svg.getScreenCTM().inverse());
    view(svg, at.x - (at.x - box.x) * factor, at.y - (at.y - box.y) * factor, box.width * factor, box.height * factor);
  };
  const enlarge = (svg, title) => {
    const home = svg.parentNode, next = svg.nextSibling;
    home.style.minHeight = `${home.offsetHeight}px`;
    dialog.replaceChildren();
    const close = add(dialog, "p", ""), button = add(close, "button", "");
    button.textContent = "close";
    button.onclick = () => dialog.close();
    add(close, "b", "").textContent = title;
    dialog.append(svg);
    add(dialog, "p", "quiet").textContent = "Wheel, + and −: magnify. Drag: move. Double click: all of it. Esc: close.";
    dialog.onclose = () => { whole(svg); home.insertBefore(svg, next); home.style.minHeight = ""; hide(); };
    dialog.onkeydown = event => {
      const factor = { "+": 0.8, "-": 1.25 }[event.key], box = svg.getBoundingClientRect();
      if (factor) magnify(svg, factor, box.x + box.width / 2, box.y + box.height / 2);
    };
    dialog.showModal();
  };

  for (const plot of document.querySelectorAll(".plot")) {
    const svg = plot.querySelector("svg"), marks = JSON.parse(plot.querySelector("script").textContent);
    svg.dataset.box = svg.getAttribute("viewBox");
    let from = null;
    svg.addEventListener("pointermove", event => {
      if (!from) return show(svg, marks, event);
      const box = svg.viewBox.baseVal, scale = svg.getScreenCTM().a;
      view(svg, box.x - (event.clientX - from.x) / scale, box.y - (event.clientY - from.y) / scale, box.width, box.height);
      from = { x: event.clientX, y: event.clientY };
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("pointerdown", event => {
      show(svg, marks, event);
      if (dialog.open) { from = { x: event.clientX, y: event.clientY }; hide(); svg.setPointerCapture(event.pointerId); }
    });
    svg.addEventListener("pointerup", () => { from = null; });
    svg.addEventListener("dblclick", () => whole(svg));
    svg.addEventListener("wheel", event => {
      if (!dialog.open) return;
      event.preventDefault();
      hide();
      magnify(svg, event.deltaY < 0 ? 0.8 : 1.25, event.clientX, event.clientY);
    }, { passive: false });
    const button = add(plot, "button", "zoom");
    button.textContent = "⤢";
    button.title = "larger";
    button.setAttribute("aria-label", `larger: ${svg.getAttribute("aria-label")}`);
    button.onclick = () => enlarge(svg, svg.getAttribute("aria-label"));
  }
  addEventListener("scroll", hide, { passive: true });
  addEventListener("resize", hide);

  // Tables: a click on a heading sorts by it, numbers as numbers; again, the other way round.
  const number = text => text === "–" ? NaN : Number(text.replace("−", "-"));
  for (const table of document.querySelectorAll("table.dataframe")) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, column) => {
      head.classList.add("sorts");
      head.tabIndex = 0;
      const sort = () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const text = row => row.cells[column].textContent.trim();
        const rows = [...body.rows], numeric = rows.every(row => text(row) === "–" || !isNaN(number(text(row))));
        const compare = numeric
          ? (a, b) => (isNaN(number(text(a))) - isNaN(number(text(b)))) || (number(text(a)) - number(text(b))) * (down ? -1 : 1)
          : (a, b) => text(a).localeCompare(text(b)) * (down ? -1 : 1);
        body.append(...rows.sort(compare));
      };
      head.onclick = sort;
      head.onkeydown = event => { if (event.key === "Enter") sort(); };
    });
  }
})();
