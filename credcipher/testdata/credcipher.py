#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A second implementation of FORMAT.md. It shares no code with the Go package.

credcipher.py open       reads lines of JSON (doc, key, kid, kind, binding, pointer; bytes in hexadecimal), writes for
                         each the plaintext in hexadecimal, or "refused"
credcipher.py seal       reads the same with plaintext instead of doc, writes envelopes
credcipher.py vectors D  writes the files of vectors/ to directory D, always the same ones
"""
import base64
import hashlib
import hmac
import json
import os
import re
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ALG = "HKDF-SHA256-KC-A256GCM"


def lp(x):
    return struct.pack(">I", len(x)) + x


def context(kind, kid, pointer, binding):
    out = b"merlon credcipher 2" + kind.encode() + lp(ALG.encode()) + lp(kid.encode()) + lp(pointer.encode())
    return out + struct.pack(">I", len(binding)) + b"".join(lp(p.encode()) for p in binding)


def derive(key, salt, info):
    okm = HKDF(algorithm=SHA256(), length=64, salt=salt, info=info).derive(key)
    return okm[:32], okm[32:]


def b64(x):
    return base64.urlsafe_b64encode(x).rstrip(b"=").decode()


def raw(key, plaintext, kid, info, salt, nonce):
    one_use, commitment = derive(key, salt, info)
    return salt + commitment + nonce + AESGCM(one_use).encrypt(nonce, plaintext, info)


def envelope(kid, blob):
    return '{"_encrypted":{"v":2,"alg":"%s","kid":"%s","blob":"%s"}}' % (ALG, kid, blob)


def seal(key, plaintext, kid, kind, binding, pointer="", salt=None, nonce=None):
    info = context(kind, kid, pointer, binding)
    return envelope(kid, b64(raw(key, plaintext, kid, info, salt or os.urandom(32), nonce or os.urandom(12))))


class Refused(Exception):
    pass


def pairs(members):
    if len({name for name, _ in members}) != len(members):
        raise Refused("a member twice")
    return dict(members)


def open_(doc, key, kid, kind, binding, pointer=""):
    if "\\" in doc:
        raise Refused("an escape")
    try:
        root = json.loads(doc, object_pairs_hook=pairs)
    except ValueError as e:
        raise Refused("no JSON") from e
    if not isinstance(root, dict) or set(root) != {"_encrypted"} or not isinstance(root["_encrypted"], dict):
        raise Refused("no envelope")
    e = root["_encrypted"]
    if set(e) != {"v", "alg", "kid", "blob"} or e["v"] != 2 or type(e["v"]) is not int or e["alg"] != ALG:
        raise Refused("not version 2")
    if e["kid"] != kid:
        raise Refused("unknown key")
    if not isinstance(e["blob"], str) or not re.fullmatch("[A-Za-z0-9_-]*", e["blob"]):
        raise Refused("no base64")
    blob = base64.urlsafe_b64decode(e["blob"] + "=" * (-len(e["blob"]) % 4))
    if b64(blob) != e["blob"] or len(blob) < 92:
        raise Refused("no strict base64")
    salt, commitment, nonce, ciphertext = blob[:32], blob[32:64], blob[64:76], blob[76:]
    info = context(kind, kid, pointer, binding)
    one_use, want = derive(key, salt, info)
    if not hmac.compare_digest(commitment, want):
        raise Refused("another key or place")
    try:
        return AESGCM(one_use).decrypt(nonce, ciphertext, info)
    except InvalidTag as e:
        raise Refused("changed") from e


def vectors(directory):
    key, other, legacy = bytes([1]) * 32, bytes([2]) * 32, bytes([9]) * 32
    place = ["gateway", "telegram.json"]
    text = b'{"token":"sample"}'

    def write(name, expect, doc, binding=place, plaintext=None, pointer="", master=key):
        head = ["expect: " + expect, "master: %02x" % master[0], "binding: " + json.dumps(binding)]
        if pointer:
            head.append("pointer: " + pointer)
        if plaintext is not None:
            head.append("plaintext: " + plaintext.hex())
        with open(os.path.join(directory, name + ".txt"), "w", encoding="utf-8", newline="") as f:
            f.write("\n".join(head) + "\n\n" + doc)

    def blob(name, plaintext=text, binding=place, kid="sample", kind="D", pointer="", master=key):
        salt, nonce = hashlib.sha256(b"salt " + name.encode()).digest(), hashlib.sha256(b"nonce " + name.encode()).digest()
        return raw(master, plaintext, kid, context(kind, kid, pointer, binding), salt, nonce[:12])

    def good(name, plaintext=text, binding=place, kid="sample", pointer="", doc="%s"):
        b = blob(name, plaintext, binding, kid, "F" if pointer else "D", pointer)
        write(name, "opened", doc % envelope(kid, b64(b)), binding, plaintext, pointer)

    good("opens")
    good("opens_empty", b"")
    good("opens_one_byte", b"x")
    good("opens_two_bytes", b"xy")
    good("opens_four_kib", bytes(range(256)) * 16)
    good("opens_binary", bytes([0, 255, 10, 13, 34, 92]))
    good("opens_unicode_binding", binding=["Größe", "\U0001f99e", ""])
    good("opens_long_key_id", kid="arn:aws:kms:eu-west-1:1/" + "a" * 104)
    good("opens_field", b'"sample"', pointer="/a~1b/0", doc='{"n":1.50,"a/b":[%s,null]}')
    good("opens_envelope_in_envelope", envelope("sample", b64(blob("inner"))).encode())
    b = b64(blob("spelling"))
    write("opens_members_in_another_order", "opened",
          '{"_encrypted":{"blob":"%s","kid":"sample","alg":"%s","v":2}}' % (b, ALG), plaintext=text)
    write("opens_indented", "opened", json.dumps(json.loads(envelope("sample", b)), indent=2) + "\r\n\t", plaintext=text)

    def bad(name, expect, doc, **kw):
        write(name, expect, doc, **kw)

    doc = envelope("sample", b)
    raw_ = blob("spelling")

    def flip(at):
        x = bytearray(raw_)
        x[at] ^= 1
        return envelope("sample", b64(bytes(x)))

    bad("salt_changed", "wrong-key-or-context", flip(0))
    bad("commitment_changed", "wrong-key-or-context", flip(63))
    bad("nonce_changed", "tampered", flip(64))
    bad("ciphertext_changed", "tampered", flip(76))
    bad("tag_changed", "tampered", flip(len(raw_) - 1))
    bad("ciphertext_cut", "tampered", envelope("sample", b64(raw_[:-1])))
    bad("blob_too_short", "malformed", envelope("sample", b64(raw_[:91])))
    bad("blob_of_header_only", "tampered", envelope("sample", b64(raw_[:92])))
    bad("another_file", "wrong-key-or-context", doc, binding=["gateway", "slack.json"])
    bad("binding_joined", "wrong-key-or-context", doc, binding=["gatewaytelegram.json"])
    bad("binding_shifted", "wrong-key-or-context", doc, binding=["gatewayt", "elegram.json"])
    bad("binding_longer", "wrong-key-or-context", doc, binding=place + [""])
    bad("another_key_under_the_id", "wrong-key-or-context", doc, master=other)
    bad("document_as_field", "wrong-key-or-context", '{"a":%s}' % doc, pointer="/a")
    bad("field_as_document", "wrong-key-or-context", envelope("sample", b64(blob("f", kind="F", pointer="/a"))))
    bad("marker_as_document", "wrong-key-or-context", envelope("sample", b64(blob("m", kind="M"))))
    bad("key_id_unknown", "unknown-key", envelope("Sample", b))
    bad("key_id_empty", "malformed", envelope("", b))
    bad("key_id_too_long", "malformed", envelope("a" * 129, b))
    bad("version_3", "unsupported", doc.replace('"v":2', '"v":3'))
    bad("version_as_text", "malformed", doc.replace('"v":2', '"v":"2"'))
    bad("version_as_fraction", "malformed", doc.replace('"v":2', '"v":2.0'))
    bad("version_leading_zero", "malformed", doc.replace('"v":2', '"v":02'))
    bad("algorithm_none", "unsupported", doc.replace(ALG, "none"))
    bad("algorithm_in_small_letters", "unsupported", doc.replace(ALG, ALG.lower()))
    bad("sentinel_in_capitals", "malformed", doc.replace("_encrypted", "_Encrypted"))
    bad("sentinel_escaped", "malformed", doc.replace("_encrypted", "\\u005fencrypted"))
    bad("sentinel_twice", "malformed", doc[:-1] + "," + doc[1:])
    bad("sibling_before", "malformed", '{"token":"evil",' + doc[1:])
    bad("sibling_after", "malformed", doc[:-1] + ',"token":"evil"}')
    bad("member_twice", "malformed", doc.replace('"v":2', '"v":2,"v":2'))
    bad("member_in_capitals", "malformed", doc.replace('"kid"', '"KID"'))
    bad("member_missing", "malformed", doc.replace('"v":2,', ""))
    bad("member_unknown", "malformed", doc.replace('"v":2', '"v":2,"x":0'))
    bad("base64_padded", "malformed", envelope("sample", b + "=" * (-len(b) % 4 or 4)))
    bad("base64_line_break", "malformed", envelope("sample", b[:4] + "\n" + b[4:]))
    bad("base64_standard_alphabet", "malformed", envelope("sample", b.replace("-", "+").replace("_", "/")))
    two = b64(blob("opens_two_bytes", b"xy"))
    bad("base64_unused_bits", "malformed", envelope("sample", two[:-1] + chr(ord(two[-1]) + 1)))
    bad("trailing_text", "malformed", doc + "{}")
    bad("byte_order_mark", "malformed", "\ufeff" + doc)
    bad("half_an_envelope", "malformed", doc[: len(doc) // 2])
    bad("in_an_array", "plaintext", "[" + doc + "]")
    bad("empty", "malformed", "")
    bad("plaintext", "plaintext", '{"token":"evil"}')

    def v1(name, expect, iv, ct, tag, **kw):
        e = lambda x: base64.b64encode(x).decode()
        bad(name, expect, '{"_encrypted":true,"payload":{"v":1,"iv":"%s","ct":"%s","tag":"%s"}}' % (e(iv), e(ct), e(tag)), **kw)

    iv = bytes(range(12))
    sealed = AESGCM(legacy).encrypt(iv, text, None)
    v1("v1_opens", "opened", iv, sealed[:-16], sealed[-16:], plaintext=text)
    v1("v1_changed", "tampered", iv, b"\0" + sealed[1:-16], sealed[-16:])
    v1("v1_short_iv", "malformed", iv[:8], sealed[:-16], sealed[-16:])


def main():
    if sys.argv[1] == "vectors":
        vectors(sys.argv[2])
        return
    for line in sys.stdin:
        row = json.loads(line)
        args = (bytes.fromhex(row["key"]), row["kid"], row["kind"], row["binding"], row["pointer"])
        if sys.argv[1] == "seal":
            print(seal(args[0], bytes.fromhex(row["plaintext"]), *args[1:]))
            continue
        try:
            print(open_(row["doc"], *args).hex())
        except Refused:
            print("refused")


main()
