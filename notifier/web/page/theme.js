// Applies the chosen theme before the first paint, which is why it is a classic script in <head>.
// Without a choice the system's preference holds (theme.css).

(() => {
  const KEPT = "notifier.theme"; // in localStorage
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const current = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");
  const kept = localStorage.getItem(KEPT);
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const show = () => {
      const other = current() === "dark" ? "light" : "dark";
      button.setAttribute("aria-label", `Use the ${other} theme`);
      button.title = `Use the ${other} theme`;
      button.querySelector("use").setAttribute("href", other === "dark" ? "#i-moon" : "#i-sun");
    };
    button.addEventListener("click", () => {
      root.dataset.theme = current() === "dark" ? "light" : "dark";
      localStorage.setItem(KEPT, root.dataset.theme);
      show();
    });
    dark.addEventListener("change", show);
    show();
  });
})();
