/** The certificate. Enters: what it says of itself. Leaves: nothing. */
import type { Certificate as Shown } from "../generated/Certificate";
import { day } from "../time";
import { element, facts } from "./elements";

export class Certificate {
  readonly #facts = element("certificate", HTMLDListElement);

  show(certificate: Shown | null): void {
    if (certificate === null) return facts(this.#facts, [{ name: "TLS", text: "off: this page came over plain HTTP", warn: true }]);
    const { authority } = certificate;
    facts(this.#facts, [
      { name: "For", text: certificate.names.join(", ") },
      { name: "Valid until", text: day(certificate.notAfter * 1000), warn: certificate.notAfter * 1000 < Date.now() + SOON_MS },
      { name: "Issued by", text: authority ? authority.name : "somebody else’s authority" },
      ...(authority ? [{ name: "Authority until", text: day(authority.notAfter * 1000) }, { name: "Authority’s fingerprint", text: authority.fingerprint, code: true }] : []),
    ]);
  }
}

const SOON_MS = 7 * 24 * 3600 * 1000;
