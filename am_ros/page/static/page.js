// What has to work in the browser itself: Stop, live pictures, the slider between two pictures, a gamepad, the theme.
(() => {
  "use strict";

  // -- Stop: a request of its own, which needs no connection that is up already.
  async function stop() {
    const button = document.querySelector(".stop");
    button?.classList.add("sent");
    try {
      const answer = await fetch("/stop", { method: "POST" });
      if (!answer.ok) throw new Error(await answer.text());
      tell((await answer.json()).said);
    } catch (error) {
      button?.classList.add("failed");
      setTimeout(() => button?.classList.remove("failed"), 2500);
      tell(`Stop did not get through: ${error.message}. Use the emergency stop.`);
    }
    setTimeout(() => button?.classList.remove("sent"), 600);
  }
  function tell(text) {
    const place = document.getElementById("stop-said");
    if (place) place.textContent = text;
  }
  const typing = (target) => target.closest?.("input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable=true]");
  document.addEventListener("keydown", (event) => {
    if (event.code !== "Space" || event.ctrlKey || event.altKey || event.metaKey || typing(event.target)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (!event.repeat) stop();
  }, true);
  document.addEventListener("keyup", (event) => {
    if (event.code === "Space" && !typing(event.target)) event.preventDefault(); // a button would be pressed by it
  }, true);
  document.addEventListener("click", (event) => { if (event.target.closest?.(".stop")) stop(); });

  // -- keys of a view: not those that mean something where the focus is; a button that was clicked takes no others away
  document.addEventListener("keydown", (event) => {
    const on = (what) => event.target.closest?.(what);
    const own = typing(event.target) ? !["Escape", "Tab"].includes(event.key)
      : event.key === "Enter" ? on("button:enabled, a, summary")
      : event.key.startsWith("Arrow") && on("input[type=range]");
    if (own) event.stopPropagation();
  }, true);

  // -- pictures of few pixels are drawn as what they are, so that what a policy sees can be told apart; larger ones smoothly
  const COARSE_PX = 160;
  function coarse(element, width) { element.classList.toggle("coarse", width > 0 && width <= COARSE_PX); }
  document.addEventListener("load", (event) => {
    if (event.target.tagName === "IMG") coarse(event.target, event.target.naturalWidth);
  }, true);

  // -- live pictures: the next one is asked for when the last one has been drawn, so none is ever queued; none is where
  // nobody would see it: in a view that is folded away, or a browser behind another
  const LOOK_MS = 250;
  class Stream {
    constructor(canvas) {
      this.canvas = canvas; this.wait = 250; this.open();
    }
    get seen() { return !document.hidden && this.canvas.checkVisibility(); }
    open() {
      if (!this.canvas.isConnected) return;
      if (!this.seen) { setTimeout(() => this.open(), LOOK_MS); return; }
      const scheme = location.protocol === "https:" ? "wss" : "ws";
      const socket = this.socket = new WebSocket(`${scheme}://${location.host}/live/${this.canvas.dataset.live}`);
      socket.binaryType = "arraybuffer";
      socket.onopen = () => { this.wait = 250; socket.send("next"); };
      socket.onmessage = async (message) => {
        if (!this.canvas.isConnected) { socket.close(); return; }
        if (typeof message.data !== "string") await this.draw(message.data);
        else this.canvas.dataset.silent = "1";
        while (this.canvas.isConnected && !this.seen) await new Promise((go) => setTimeout(go, LOOK_MS));
        if (socket.readyState === 1) socket.send("next");
      };
      socket.onclose = () => {
        setTimeout(() => this.open(), this.wait);
        this.wait = Math.min(this.wait * 2, 4000);
      };
    }
    async draw(data) {
      try {
        const bitmap = await createImageBitmap(new Blob([data]));
        if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
          this.canvas.width = bitmap.width; this.canvas.height = bitmap.height;
          coarse(this.canvas, bitmap.width);
        }
        this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
        bitmap.close();
        delete this.canvas.dataset.silent;
        this.canvas.dataset.frames = String(Number(this.canvas.dataset.frames || 0) + 1);
      } catch { /* a picture that is damaged is not shown; the next one may be whole */ }
    }
  }
  function find() {
    for (const canvas of document.querySelectorAll("canvas[data-live]:not([data-on])")) {
      canvas.dataset.on = "1";
      new Stream(canvas);
    }
  }
  new MutationObserver(find).observe(document.documentElement, { childList: true, subtree: true });
  document.addEventListener("DOMContentLoaded", find);

  // -- the slider between a goal and today's view
  document.addEventListener("input", (event) => {
    const screen = event.target.matches?.("input[data-split]") && document.getElementById(event.target.dataset.split);
    if (screen) screen.style.setProperty("--split", `${event.target.value}%`);
  });

  // -- a gamepad, while the view that wants one is there: twenty times a second, and once more when it is let go
  let resting = true;
  setInterval(() => {
    if (!document.getElementById("gamepad") || document.hidden) return;
    const pad = [...navigator.getGamepads()].find((one) => one && one.connected);
    const note = document.getElementById("gamepad");
    note.textContent = pad ? `gamepad: ${pad.id}` : "no gamepad: press one of its buttons to have the browser find it";
    if (!pad) return;
    const buttons = pad.buttons.map((one) => one.pressed);
    const idle = !buttons.some(Boolean);
    if (!(idle && resting)) emitEvent("teach_pad", { axes: [...pad.axes].slice(0, 8), buttons: buttons.slice(0, 24) });
    resting = idle;
  }, 50);

  // -- light or dark: as the system has it until somebody chooses
  window.amTheme = {
    apply() {
      const chosen = localStorage.getItem("theme");
      const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      document.body.classList.toggle("body--dark", dark);
      document.body.classList.toggle("body--light", !dark);
      document.documentElement.style.colorScheme = dark ? "dark" : "light";
    },
    turn() {
      localStorage.setItem("theme", document.body.classList.contains("body--dark") ? "light" : "dark");
      this.apply();
    },
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => amTheme.apply());
  document.addEventListener("DOMContentLoaded", () => amTheme.apply());
})();
