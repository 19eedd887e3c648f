// Where a page is read from disk, browsers start no worker. The search of MkDocs
// Material, which is one, then runs in a frame that takes and gives messages as a
// worker does.
if (location.protocol === 'file:') {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement('iframe')
      frame.hidden = true
      document.body.append(frame)
      this.inside = frame.contentWindow
      const load = file => new Promise((done, failed) => {
        const script = this.inside.document.createElement('script')
        Object.assign(script, {src: file, onload: done, onerror: failed})
        this.inside.document.body.append(script)
      })
      this.inside.importScripts = async (...files) => {
        for (const file of files) await load(file)
      }
      this.inside.postMessage = data => this.tell(this, data)
      this.ready = load(url)
    }

    postMessage(data) {
      this.ready.then(() => this.tell(this.inside, data))
    }

    tell(target, data) {
      target.dispatchEvent(new MessageEvent('message', {data}))
    }
  }
}
