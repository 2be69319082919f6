// Shows the figures of /status, once a second.
const show = (id, text) => { document.getElementById(id).textContent = text; };
const time = (seconds) => {
  const [days, hours, minutes] = [seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60].map(Math.floor);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(seconds)} s`;
};
async function refresh() {
  try {
    const status = await (await fetch("status")).json();
    const used = status.memory.total_bytes - status.memory.free_bytes;
    show("mode", status.mode);
    show("uptime", time(status.uptime_seconds));
    show("cpus", status.cpus);
    show("memory", `${(used / 1048576).toFixed(1)} MiB`);
    show("open", status.connections.open.toLocaleString());
    show("requests", status.requests.toLocaleString());
  } catch {
    show("mode", "away");
  }
  setTimeout(refresh, 1000);
}
refresh();
