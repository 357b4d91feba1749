"use strict";
const at = (id) => document.getElementById(id);
const percent = (share) => (100 * share).toFixed(1) + " %";

function headers() {
  const key = at("key") ? at("key").value.trim() : "";
  return key ? { Authorization: "Bearer " + key } : {};
}

function fail(sentence) {
  at("problem").textContent = sentence;
  at("problem").hidden = false;
  at("result").hidden = true;
}

function figure(uri, lines) {
  const found = document.createElement("figure");
  const image = document.createElement("img");
  image.src = uri;
  image.alt = lines[0];
  const caption = document.createElement("figcaption");
  for (const line of lines) {
    const bidi = document.createElement("bdi");
    bidi.textContent = line;
    caption.append(bidi, document.createElement("br"));
  }
  found.append(image, caption);
  return found;
}

function row(entry) {
  const found = document.createElement("tr");
  const name = document.createElement("td");
  const bidi = document.createElement("bdi");
  bidi.textContent = entry.label;
  name.append(bidi);
  const number = document.createElement("td");
  number.textContent = percent(entry.probability);
  const bar = document.createElement("td");
  const progress = document.createElement("progress");
  progress.max = 1;
  progress.value = entry.probability;
  bar.append(progress);
  found.append(name, number, bar);
  return found;
}

function show(answer) {
  const row_ = answer.prediction;
  if (row_.reason) {
    fail("The image cannot be used: " + row_.reason + ".");
    return;
  }
  at("problem").hidden = true;
  at("result").hidden = false;
  at("said").textContent = row_.labels ? row_.labels.join(", ") || "no label" : row_.label;
  at("detail").textContent = percent(row_.confidence) + " confident" + (row_.abstained ? "; below the threshold: abstained" : "")
    + ("unfamiliar" in row_ && row_.unfamiliar ? "; unlike the training images" : "");
  at("seen").src = answer.image;
  at("heat").src = answer.heat_map;
  at("evidence").textContent = answer.label;
  at("classes").replaceChildren(...row_.top_k.map(row));
  at("remark").textContent = answer.remark;
  at("similar").replaceChildren(...answer.similar.map((each) =>
    figure(each.image, [each.label, percent(each.similarity) + " similar"])));
  at("model").textContent = answer.model;
}

async function ask(file) {
  at("drop").querySelector("span").textContent = "Looking at " + file.name + " …";
  const form = new FormData();
  form.append("images", file);
  try {
    const answer = await fetch("v1/explain", { method: "POST", body: form, headers: headers() });
    const said = await answer.json();
    if (answer.ok) show(said);
    else fail(typeof said.detail === "string" ? said.detail : "The request was refused (" + answer.status + ").");
  } catch (error) {
    fail("The service does not answer.");
  }
  at("drop").querySelector("span").textContent = "Drop an image here, or choose a file";
}

at("file").addEventListener("change", () => at("file").files.length && ask(at("file").files[0]));
for (const name of ["dragover", "drop", "dragleave"])
  at("drop").addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) ask(event.dataTransfer.files[0]);
  });
