/**
 * Types of the part of gstwebrtc-api 3.0.0 that client.ts uses. The package's own declarations do not
 * compile under strict TypeScript; tsconfig.json maps the package name to this file. Remove it when a
 * release does.
 */

export interface Peer {
  readonly id: string;
  readonly meta: Readonly<Record<string, unknown>>;
}

export interface Config {
  meta: Record<string, unknown> | null;
  signalingServerUrl: string;
  /** Milliseconds until the library opens a closed WebSocket again; 0 leaves that to the caller. */
  reconnectionTimeout: number;
  /** Kept by reference and read whenever a peer connection is made. */
  webrtcConfig: RTCConfiguration;
}

export interface ConnectionListener {
  connected(clientId: string): void;
  disconnected(): void;
}

export interface PeerListener {
  producerAdded?(producer: Peer): void;
  producerRemoved?(producer: Peer): void;
}

interface Session extends EventTarget {
  readonly peerId: string;
  /** Empty until the signalling server has started the session. */
  readonly sessionId: string;
  readonly rtcPeerConnection: RTCPeerConnection | null;
  close(): void;
}

export interface ConsumerSession extends Session {
  readonly streams: readonly MediaStream[];
  /** Answers in stereo when the offer is stereo, which Chromium does not do by itself. */
  mungeStereoHack: boolean;
  connect(): boolean;
}

/** One consumer's view of a producer session; `clientConsumerAdded` carries it as `detail`. */
export type ClientSession = Session;

export interface ProducerSession extends EventTarget {
  readonly stream: MediaStream | null;
  start(): boolean;
  /** Also stops every track of the stream. */
  close(): void;
}

export default class GstWebRTCAPI {
  /** Opens the WebSocket at once. */
  constructor(config: Partial<Config>);
  connectChannel(): void;
  registerConnectionListener(listener: ConnectionListener): boolean;
  unregisterAllConnectionListeners(): void;
  registerPeerListener(listener: PeerListener): boolean;
  getAvailableProducers(): Peer[];
  createConsumerSession(producerId: string): ConsumerSession | null;
  createProducerSession(stream: MediaStream): ProducerSession | null;
  /**
   * Not public, but 3.0.0 has no other way to close the WebSocket for good, nor to learn what the server refuses: its
   * `error` events (an ErrorEvent whose `error` carries the server's words), and the reason of the WebSocket's close.
   */
  readonly _channel: (EventTarget & { close(): void; readonly _ws: WebSocket | null }) | null;
}
