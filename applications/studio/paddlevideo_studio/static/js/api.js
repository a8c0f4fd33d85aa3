// The server's API, see API.md.

/** A request with JSON; throws with the server's own line. */
export async function api(method, path, body) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  const answer = await fetch(`/api/${path}`, { method, headers, body: body && JSON.stringify(body) });
  if (answer.status === 204) return null;
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(content.error ?? answer.statusText), { status: answer.status });
  return content;
}

/** Sends a file as a request's body; `progress` receives 0..1, `begun` the request, which can be aborted. */
export function send(path, file, progress = () => {}, begun = () => {}) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/${path}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = (event) => progress(event.total ? event.loaded / event.total : 0);
    request.onload = () =>
      request.status < 300 ? done(request.response) : failed(new Error(request.response?.error ?? request.statusText));
    request.onerror = () => failed(Object.assign(new Error("the connection to the server was lost"), { isLost: true }));
    request.onabort = () => failed(new Error(""));
    begun(request);
    request.send(file);
  });
}

/** Server-sent events; `state` receives whether the server is there. */
export function listen(handlers, state) {
  const source = new EventSource("/api/events");
  source.onopen = () => state(true);
  source.onerror = () => {
    state(false);
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen(handlers, state), 2000);
    if (source.readyState === EventSource.CLOSED) source.close();
  };
  for (const [name, handler] of Object.entries(handlers)) {
    source.addEventListener(name, (event) => handler(JSON.parse(event.data)));
  }
}

/** Saves what an address gives as a file; returns what the form could not hold. */
export async function download(path) {
  const answer = await fetch(`/api/${path}`);
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? answer.statusText);
  const name = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? "spans";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = decodeURIComponent(name);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  return decodeURIComponent(answer.headers.get("X-Lost") ?? "");
}
