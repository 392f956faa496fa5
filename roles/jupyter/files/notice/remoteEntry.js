// An extension of JupyterLab 4, small enough to need no build: what the machine has to tell its student, as a notification that stays.
// JupyterLab asks window._JUPYTERLAB[name] for its plugins: https://jupyterlab.readthedocs.io/en/stable/extension/extension_dev.html
(() => {
  const { baseUrl } = JSON.parse(document.getElementById("jupyter-config-data").textContent);

  const activate = ({ commands, restored }) => {
    let text = "";
    let id;
    const look = async () => {
      const answer = await fetch(`${baseUrl}static/notice.txt`, { cache: "no-store" }).catch(() => undefined);
      const told = answer?.ok ? (await answer.text()).trim() : "";
      if (told === text) return;
      if (id) await commands.execute("apputils:dismiss-notification", { id });
      id = told && (await commands.execute("apputils:notify", { message: told, type: "warning", options: { autoClose: false } }));
      text = told;
    };
    restored.then(look).then(() => setInterval(look, 15000));
  };

  (window._JUPYTERLAB ??= {})["classroom-notice"] = {
    init: () => {},
    get: async () => () => ({ id: "classroom-notice:plugin", autoStart: true, activate }),
  };
})();
