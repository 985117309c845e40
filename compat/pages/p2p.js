/** A video page on the wire of p2p-go-app. */
import { joinWith } from './p2p-wire.js';
import { video } from './video.js';

joinWith(video);
