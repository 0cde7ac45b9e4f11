// The look that a person chose, set before the first paint. A classic script, so that the page never flashes.
(() => {
  const KEY = "illume.theme";
  const looks = ["auto", "light", "dark"];
  const read = () => {
    try {
      const kept = localStorage.getItem(KEY);
      return looks.includes(kept) ? kept : "auto";
    } catch {
      return "auto"; // a browser that keeps nothing
    }
  };
  const show = (look) => {
    document.documentElement.dataset.theme = look;
    return look;
  };
  show(read());
  window.illumeTheme = {
    get: read,
    next() {
      const look = looks[(looks.indexOf(document.documentElement.dataset.theme) + 1) % looks.length];
      try {
        localStorage.setItem(KEY, look);
      } catch {
        // it then lasts as long as the page
      }
      return show(look);
    },
  };
})();
