// Where we are: #/screen?name=value.

export function read() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { name: path, params: Object.fromEntries(new URLSearchParams(query)) };
}

// Write the parameters of the screen that is shown into its address, without a new place in the history.
export function setParams(params) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value)).toString();
  history.replaceState(null, "", `#/${read().name || "home"}${query ? `?${query}` : ""}`);
}
