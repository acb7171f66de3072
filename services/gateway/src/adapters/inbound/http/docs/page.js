"use strict";
// Shows the description, and sends what is typed. Text from the description or from answers is only ever set as text.

const make = (name, text, parent) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
};

const resolve = (api, node) =>
  node && node.$ref ? node.$ref.slice(2).split("/").reduce((found, key) => found[key], api) : node;

// A value that fits a schema, to begin with.
const example = (api, given, depth = 0) => {
  const schema = resolve(api, given) || {};
  const one = (schema.oneOf || []).find((choice) => choice.type !== "null");
  if (one) return example(api, one, depth);
  const type = [].concat(schema.type).find((name) => name !== "null");
  if (schema.enum) return schema.enum[0];
  if (type === "object" && depth < 4) {
    const wanted = schema.required || Object.keys(schema.properties || {}).slice(0, 1);
    return Object.fromEntries(wanted.map((key) => [key, example(api, schema.properties[key], depth + 1)]));
  }
  if (type === "array") return [example(api, schema.items, depth + 1)];
  if (type === "integer") return schema.minimum || 0;
  return "";
};

const send = async (path, method, operation, form, output) => {
  const headers = {};
  const query = new URLSearchParams();
  let target = path;
  for (const parameter of operation.parameters || []) {
    const value = form.elements[parameter.name].value;
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (value && parameter.in === "query") query.set(parameter.name, value);
    else if (value && parameter.in === "header") headers[parameter.name] = value;
  }
  const token = document.getElementById("token").value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  if (query.size) target += `?${query}`;
  const body = operation.requestBody ? form.elements.body.value : undefined;
  output.textContent = "…";
  try {
    const answer = await fetch(target, { method: method.toUpperCase(), headers, body });
    const text = await answer.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* Not JSON: as it is. */ }
    const names = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    output.textContent = `${answer.status}\n${names}\n\n${shown}`;
  } catch (error) {
    output.textContent = String(error);
  }
};

const show = (api, path, method, operation, parent) => {
  const details = make("details", undefined, parent);
  const summary = make("summary", undefined, details);
  make("span", method.toUpperCase(), summary).className = "method";
  const locked = (operation.security || []).length > 0 && operation.security.every((way) => Object.keys(way).length);
  make("code", path, summary).className = locked ? "locked" : "";
  make("span", ` ${operation.summary || ""}`, summary);
  if (operation.description) make("p", operation.description, details);
  const answers = make("table", undefined, details);
  for (const [status, response] of Object.entries(operation.responses)) {
    const row = make("tr", undefined, answers);
    make("th", status, row);
    make("td", resolve(api, response).description, row);
  }
  const form = make("form", undefined, details);
  for (const parameter of operation.parameters || []) {
    const label = make("label", `${parameter.name} (${parameter.in}) ${parameter.description || ""}`, form);
    const input = make("input", undefined, label);
    input.name = parameter.name;
    input.required = parameter.required === true;
  }
  if (operation.requestBody) {
    const schema = Object.values(operation.requestBody.content)[0].schema;
    const area = make("textarea", JSON.stringify(example(api, schema), null, 2), make("label", "Body", form));
    area.name = "body";
    area.rows = 6;
  }
  make("button", "Send", form);
  const output = make("pre", "", details);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(path, method, operation, form, output);
  });
};

const start = async () => {
  const about = document.getElementById("about");
  const answer = await fetch("/api/v1/openapi.json");
  if (!answer.ok) { about.textContent = `The description could not be read: ${answer.status}.`; return; }
  const api = await answer.json();
  about.textContent = api.info.description;
  const sections = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      const tag = (operation.tags || ["other"])[0];
      if (!sections.has(tag)) {
        const section = make("section", undefined, document.getElementById("operations"));
        make("h2", tag, section);
        sections.set(tag, section);
      }
      show(api, path, method, operation, sections.get(tag));
    }
  }
};

start();
