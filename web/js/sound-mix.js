// @ts-check
// Mixes the microphone and the sound of a shared screen into one track, because some clients play only one audio track.
// A muted microphone adds silence; the sound of the screen stays.

export class SoundMix {
  /** @type {AudioContext | null} */ #context = null;
  /** @type {MediaStreamAudioDestinationNode | null} */ #destination = null;
  /** @type {Map<MediaStreamTrack, MediaStreamAudioSourceNode>} */ #sources = new Map();

  /**
   * @param {MediaStreamTrack | null} mic @param {MediaStreamTrack | null} shared
   * @returns {MediaStreamTrack | null} the only track of the two, or a mix that stays the same track while both exist
   */
  trackOf(mic, shared) {
    if (!mic || !shared) this.#close();
    return mic && shared ? this.#mixed([mic, shared]) : (mic ?? shared);
  }

  /** @param {MediaStreamTrack[]} tracks */
  #mixed(tracks) {
    this.#context ??= new AudioContext();
    this.#destination ??= this.#context.createMediaStreamDestination();
    this.#context.resume().catch((error) => console.warn('shared sound', error));
    for (const track of this.#sources.keys()) if (!tracks.includes(track)) this.#remove(track);
    for (const track of tracks) if (!this.#sources.has(track)) this.#add(this.#context, this.#destination, track);
    return this.#destination.stream.getAudioTracks()[0] ?? null;
  }

  /** @param {AudioContext} context @param {AudioNode} destination @param {MediaStreamTrack} track */
  #add(context, destination, track) {
    const source = context.createMediaStreamSource(new MediaStream([track]));
    source.connect(destination);
    this.#sources.set(track, source);
  }

  /** @param {MediaStreamTrack} track */
  #remove(track) {
    this.#sources.get(track)?.disconnect();
    this.#sources.delete(track);
  }

  #close() {
    this.#context?.close();
    this.#context = this.#destination = null;
    this.#sources.clear();
  }
}
