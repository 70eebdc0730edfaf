package agent

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"sync"
)

// digest knows a token again.
type digest [16]byte

// digester makes digests: the MAC of the token under a key that no other process has, so that nobody
// can make up a token whose digest is one of another. It is GMAC, because a hit is little more than
// this, and SHA-256 takes five times as long. No digest leaves the process but to its
// successor, with the key; that is why the nonce may be the same for all
// (https://nvlpubs.nist.gov/nistpubs/Legacy/SP/nistspecialpublication800-38d.pdf, section 8).
// The zero value is ready.
type digester struct {
	once    sync.Once
	key     []byte
	mac     cipher.AEAD
	buffers sync.Pool
}

// start makes key the one that counts, unless there is one; nil makes one up.
func (d *digester) start(key []byte) {
	d.once.Do(func() {
		if len(key) != keySize {
			key = make([]byte, keySize)
			_, _ = rand.Read(key) // it never fails
		}
		block, err := aes.NewCipher(key)
		if err == nil {
			d.mac, err = cipher.NewGCM(block)
		}
		if err != nil {
			panic("agent: " + err.Error()) // cannot happen with a key of this size
		}
		d.key = key
		d.buffers.New = func() any { return new(digestBuffer) }
	})
}

const keySize = 16

// digestBuffer is what would escape to the heap with each digest.
type digestBuffer struct {
	text  []byte
	nonce [12]byte
	sum   digest
}

func (d *digester) digest(raw string) digest {
	d.start(nil)
	b := d.buffers.Get().(*digestBuffer)
	b.text = append(b.text[:0], raw...)
	d.mac.Seal(b.sum[:0], b.nonce[:], nil, b.text)
	sum := b.sum
	clear(b.text)
	d.buffers.Put(b)
	return sum
}
