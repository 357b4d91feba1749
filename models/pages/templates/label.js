"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const items = data.items;
  const EXCLUDE = data.exclude;
  const KEYS = [..."1234567890abcdefghijklmnopqrstuvwxyz"];
  const STORE = `darkroom-labels-${data.id}`;
  const element = (id) => document.getElementById(id);
  // With several labels, what is said of an image is a list of all of them; with one, the label.
  const several = data.several;
  const suggested = (item) => (several ? item.suggested : item.suggested[0]);
  const given = (item) => (several || !item.given ? item.given : item.given[0]);

  const made = (tag, text, className) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (className) node.className = className;
    return node;
  };

  // What a person has said: {path: {label, by, when}}, notes by path, and classes that the model does not have.
  let choices = Object.create(null);
  let notes = Object.create(null);
  let added = [];
  let at = 0;
  let show = "all";
  const past = [];

  const warn = (text) => {
    element("warning").textContent = text;
    element("warning").hidden = false;
  };

  const load = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(STORE) || "{}");
      Object.assign(choices, kept.choices);
      Object.assign(notes, kept.notes);
      added = kept.added || [];
      at = Math.min(Math.max(kept.at || 0, 0), Math.max(items.length - 1, 0));
      element("by").value = localStorage.getItem("darkroom-labels-by") || "";
    } catch {
      warn("This browser keeps nothing for this page: save the CSV before you close it.");
    }
  };

  const keep = () => {
    try {
      localStorage.setItem(STORE, JSON.stringify({ choices, notes, added, at }));
      localStorage.setItem("darkroom-labels-by", element("by").value);
    } catch {
      warn("This browser keeps nothing for this page: save the CSV before you close it.");
    }
  };

  const classes = () => data.classes.concat(added);
  const matching = () => {
    const words = element("filter").value.trim().toLowerCase();
    const found = classes().filter((name) => name.toLowerCase().includes(words));
    return words ? found.sort((a, b) => b.toLowerCase().startsWith(words) - a.toLowerCase().startsWith(words)) : found;
  };
  const shown = (item) =>
    show === "all" || (show === "done") === (item.path in choices) || item === items[at];
  const name = (label) => (label === EXCLUDE ? "not usable" : several ? label.join(", ") || "none" : label);
  const checked = (item) => {
    const said = choices[item.path]?.label ?? suggested(item);
    return said === EXCLUDE ? [] : said;
  };

  const set = (path, choice) => {
    past.push([path, choices[path]]);
    if (choice) choices[path] = choice;
    else delete choices[path];
  };

  const say = (item, label) =>
    set(item.path, { label, by: element("by").value.trim(), when: new Date().toISOString().slice(0, 19) + "Z" });

  const choose = (label) => {
    const item = items[at];
    if (!item || label === undefined) return;
    say(item, label);
    element("filter").value = "";
    const left = items.findIndex((each, index) => index > at && !(each.path in choices));
    if (left >= 0) at = left;
    else if (at < items.length - 1 && items.some((each) => !(each.path in choices))) at += 1;
    refresh();
  };

  const toggle = (label) => {
    const item = items[at];
    if (!item || label === undefined) return;
    const before = checked(item);
    const now = before.includes(label) ? before.filter((each) => each !== label) : [...before, label];
    say(item, classes().filter((each) => now.includes(each)));
    element("filter").value = "";
    refresh();
  };
  const pick = several ? toggle : choose;
  const accept = () => choose(several ? checked(items[at]) : suggested(items[at]));

  const add = (text) => {
    const label = text.trim();
    if (!label) return;
    if (several && label.includes("|")) {
      warn("A label has no | in its name: it separates labels.");
      return;
    }
    if (!classes().includes(label)) added.push(label);
    pick(label);
  };

  const clear = () => {
    if (items[at] && items[at].path in choices) set(items[at].path, undefined);
    refresh();
  };

  const undo = () => {
    const last = past.pop();
    if (!last) return;
    const [path, before] = last;
    if (before) choices[path] = before;
    else delete choices[path];
    at = items.findIndex((item) => item.path === path);
    refresh();
  };

  const go = (index) => {
    at = Math.min(Math.max(index, 0), items.length - 1);
    refresh();
  };

  const step = (direction) => {
    let index = at + direction;
    while (index >= 0 && index < items.length && !shown(items[index])) index += direction;
    if (index >= 0 && index < items.length) go(index);
  };

  const cell = (text) => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const PLAIN = /^[\p{L}\p{M}\p{N}_-]+$/u;
  const written = (label) => {
    if (label === EXCLUDE || !several) return label;
    return label.length && label.every((each) => PLAIN.test(each)) ? label.join("|") : JSON.stringify(label);
  };
  const csv = () => {
    const rows = items
      .filter((item) => item.path in choices)
      .map((item) => {
        const said = choices[item.path];
        const by = said.by || element("by").value.trim();
        return [item.path, written(said.label), by, said.when, notes[item.path] || ""].map(cell).join(",");
      });
    return ["path,label,by,when,note", ...rows, ""].join("\r\n");
  };

  const save = () => {
    const link = made("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = data.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    const number = Object.keys(choices).length;
    element("done").textContent = `${number} saved`;
  };

  const classButton = (label) => {
    const item = items[at];
    const place = classes().indexOf(label);
    const button = made("button", undefined, "class");
    button.type = "button";
    if (place < KEYS.length) button.append(made("kbd", KEYS[place]));
    const text = made("span");
    text.append(made("bdi", label));
    button.append(text);
    const remarks = [];
    if (item.given?.includes(label)) remarks.push("given");
    const probable = item.top.find((each) => each[0] === label);
    if (probable) remarks.push(`${(100 * probable[1]).toFixed(0)} %`);
    if (!several && suggested(item) === label) button.append(made("kbd", "Enter"));
    if (!several && given(item) === label) button.append(made("kbd", "Space"));
    if (remarks.length) button.append(made("small", remarks.join(", ")));
    if (several) {
      button.setAttribute("role", "checkbox");
      button.setAttribute("aria-checked", String(checked(item).includes(label)));
      button.dataset.label = label;
    } else button.setAttribute("aria-pressed", String(choices[item.path]?.label === label));
    button.addEventListener("click", () => pick(label));
    return button;
  };

  const showClasses = () => {
    const list = element("classes");
    const wanted = element("filter").value.trim();
    const found = matching();
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.label : undefined;
    list.classList.toggle("is-suggested", several && Boolean(items[at]) && !(items[at].path in choices));
    list.replaceChildren(...found.slice(0, 200).map(classButton));
    if (found.length > 200) list.append(made("p", `${found.length - 200} more: type a part of the name.`, "none"));
    if (wanted && !classes().includes(wanted)) {
      const button = made("button", undefined, "class add");
      button.type = "button";
      const text = made("span", "Add the class ");
      text.append(made("bdi", wanted));
      button.append(text);
      button.addEventListener("click", () => add(wanted));
      list.append(button);
    }
    list.querySelector('[aria-pressed="true"]')?.scrollIntoView({ block: "nearest" });
    if (focused !== undefined) [...list.children].find((button) => button.dataset.label === focused)?.focus();
  };

  const film = items.map((item, index) => {
    const button = made("button");
    button.type = "button";
    button.title = item.path;
    if (item.picture) {
      const image = made("img");
      image.src = item.picture;
      image.alt = item.path;
      image.loading = "lazy";
      button.append(image);
    }
    button.append(made("span"));
    button.addEventListener("click", () => go(index));
    return button;
  });

  const showFilm = () => {
    film.forEach((button, index) => {
      const said = choices[items[index].path];
      button.hidden = !shown(items[index]);
      button.className =
        (said ? (said.label === EXCLUDE ? "is-excluded" : "is-done") : "") + (index === at ? " is-current" : "");
      button.lastChild.textContent = said ? name(said.label) : items[index].given ? name(given(items[index])) : "";
    });
    for (const button of document.querySelectorAll("[data-show]"))
      button.setAttribute("aria-pressed", String(button.dataset.show === show));
  };

  const refresh = () => {
    const number = Object.keys(choices).length;
    element("progress").max = Math.max(items.length, 1);
    element("progress").value = number;
    element("done").textContent = items.length && number === items.length ? "All done: save the CSV" : `${number} of ${items.length} done`;
    const item = items[at];
    if (!item) {
      element("said").textContent = "There is nothing to label.";
      return;
    }
    const picture = element("picture");
    if (picture.getAttribute("src") !== item.picture) picture.src = item.picture || "";
    picture.alt = item.path;
    element("place").textContent = `${at + 1} / ${items.length}`;
    element("path").textContent = item.path;
    element("said").textContent = item.why;
    element("note").value = notes[item.path] || "";
    element("previous").disabled = at === 0;
    element("next").disabled = at === items.length - 1;
    element("clear").disabled = !(item.path in choices);
    element("undo").disabled = !past.length;
    element("exclude").setAttribute("aria-pressed", String(choices[item.path]?.label === EXCLUDE));
    showClasses();
    showFilm();
    keep();
  };

  const typed = (event) => {
    const field = event.target;
    if (event.key === "Escape") field.blur();
    else if (event.key === "Enter" && field === element("filter")) {
      const found = matching();
      if (!field.value.trim()) return;
      if (found.length) pick(found[0]);
      else add(field.value);
      field.blur();
    } else if (event.key === "Enter") field.blur();
    else return;
    event.preventDefault();
  };

  document.addEventListener("keydown", (event) => {
    const held = event.ctrlKey || event.metaKey;
    if (held && event.key.toLowerCase() === "s") {
      event.preventDefault();
      save();
      return;
    }
    if (event.target instanceof HTMLInputElement) {
      typed(event);
      return;
    }
    if (event.altKey || (held && event.key.toLowerCase() !== "z")) return;
    const item = items[at];
    if (!item) return;
    const key = event.key;
    // A button that has the focus by Tab takes Space, and Enter too unless it is a checkbox.
    const button = event.target instanceof Element && event.target.closest("button, summary");
    if (button && (key === " " || (key === "Enter" && button.getAttribute("role") !== "checkbox"))) return;
    if (held) undo();
    else if (key === "ArrowRight" || key === "ArrowDown") step(1);
    else if (key === "ArrowLeft" || key === "ArrowUp") step(-1);
    else if (key === "Home") go(0);
    else if (key === "End") go(items.length - 1);
    else if (key === "Enter") accept();
    else if (key === " " && item.given) choose(given(item));
    else if (key === "-" && several) choose([]);
    else if (key === "Backspace") clear();
    else if (key === "Delete") choose(EXCLUDE);
    else if (key === "/") element("filter").focus();
    else if (key === "?") element("help").open = !element("help").open;
    else if (key.length === 1 && KEYS.includes(key.toLowerCase())) pick(classes()[KEYS.indexOf(key.toLowerCase())]);
    else return;
    event.preventDefault();
  });

  element("filter").addEventListener("input", showClasses);
  element("by").addEventListener("change", keep);
  element("note").addEventListener("input", () => {
    notes[items[at].path] = element("note").value;
    keep();
  });
  element("save").addEventListener("click", save);
  element("previous").addEventListener("click", () => step(-1));
  element("next").addEventListener("click", () => step(1));
  element("clear").addEventListener("click", clear);
  element("undo").addEventListener("click", undo);
  element("exclude").addEventListener("click", () => choose(EXCLUDE));
  element("accept")?.addEventListener("click", accept);
  element("none")?.addEventListener("click", () => choose([]));
  for (const button of document.querySelectorAll("[data-show]"))
    button.addEventListener("click", () => {
      show = button.dataset.show;
      refresh();
    });
  // A button that was clicked would take Enter and Space for itself.
  document.addEventListener("click", (event) => {
    if (event.target instanceof Element && (event.detail || event.target.getAttribute("role") !== "checkbox"))
      event.target.closest("button")?.blur();
  });
  if (!items.some((item) => item.given)) for (const row of document.querySelectorAll(".for-given")) row.hidden = true;

  load();
  element("film").append(...film);
  refresh();
})();
