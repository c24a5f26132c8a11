// @ts-check
/** Wait for the frame: before it is there, it would overrule the theme. @param {() => void} act */
function mounted(act, tries = 200) {
  const there = document.documentElement.classList.contains("light");
  if (there || tries === 0) setTimeout(act, 50);
  else setTimeout(() => mounted(act, tries - 1), 20);
}

/** An address without the step that is shown. @param {string} search */
const place = (search) => search.replace(/([?&])step=\d*(&|$)/, "$1").replace(/[?&]$/, "");

/**
 * Keeps the address bar equal to the model's `address`, tells Python when Back or Forward was
 * used, and remembers the theme in a cookie of this server, so that the next page starts in it.
 *
 * @param {{model: any}} place
 */
export function render({ model }) {
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const shown = () => window.location.search;
  let written = false;
  const write = () => {
    if (!model.address || model.address === shown()) return;
    // the first page is no step back, and neither is another step of the same picture
    const how = written && place(model.address) !== place(shown()) ? "pushState" : "replaceState";
    window.history[how]({}, "", `${window.location.pathname}${model.address}`);
  };
  const name = () => { if (model.heading) document.title = model.heading; };
  const back = () => model.send_msg({ do: "back", value: shown() });
  const remember = () => {
    if (model.theme) document.cookie = `bpflife_theme=${model.theme}; path=/; max-age=31536000; SameSite=Strict`;
  };
  window.addEventListener("popstate", back);
  model.on("address", write);
  model.on("heading", name);
  model.on("theme", remember);
  model.on("remove", () => window.removeEventListener("popstate", back));
  write();
  name();
  written = true;
  const narrow = window.matchMedia("(max-width: 640px)");
  const width = () => model.send_msg({ do: "narrow", checked: narrow.matches });
  narrow.addEventListener("change", width);
  model.on("remove", () => narrow.removeEventListener("change", width));
  if (narrow.matches) width();
  if (dark && !/(^|; )bpflife_theme=/.test(document.cookie)) mounted(() => model.send_msg({ do: "prefers", value: "dark" }));
}
