package certificate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// stored is an authority as the Secret has it.
type stored struct {
	Certificate string    `json:"certificate"`
	Key         string    `json:"key,omitempty"`
	Published   time.Time `json:"published,omitzero"`
	Retired     time.Time `json:"retired,omitzero"`
}

// encodeState is what the Secret keeps of a state.
func encodeState(s State) ([]byte, error) {
	all := make([]stored, len(s.Authorities))
	for i, a := range s.Authorities {
		all[i] = stored{Certificate: string(encode(a.Certificate)), Published: a.Published, Retired: a.Retired}
		if a.Key == nil {
			continue
		}
		key, err := x509.MarshalPKCS8PrivateKey(a.Key)
		if err != nil {
			return nil, err
		}
		all[i].Key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	}
	return json.MarshalIndent(all, "", "  ")
}

// parseState reads what encodeState wrote. Whatever is odd is an error: a state that is
// half understood could drop an authority that is in use.
func parseState(text []byte) (State, error) {
	var all []stored
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&all); err != nil {
		return State{}, err
	}
	var s State
	for i, one := range all {
		a, err := one.authority()
		if err != nil {
			return State{}, fmt.Errorf("authority %d: %w", i, err)
		}
		if n := len(s.Authorities); n > 0 && s.Authorities[n-1].Retired.IsZero() && !a.Retired.IsZero() {
			return State{}, fmt.Errorf("authority %d is retired, and an older one is not", i)
		}
		s.Authorities = append(s.Authorities, a)
	}
	return s, nil
}

func (one stored) authority() (Authority, error) {
	a := Authority{Published: one.Published, Retired: one.Retired}
	raw, err := block(one.Certificate, "CERTIFICATE")
	if err != nil {
		return a, err
	}
	if a.Certificate, err = x509.ParseCertificate(raw); err != nil {
		return a, err
	}
	if !one.Retired.IsZero() {
		return a, nil
	}
	if raw, err = block(one.Key, "PRIVATE KEY"); err != nil {
		return a, err
	}
	key, err := x509.ParsePKCS8PrivateKey(raw)
	if err != nil {
		return a, err
	}
	var ok bool
	if a.Key, ok = key.(*ecdsa.PrivateKey); !ok || !a.Key.PublicKey.Equal(a.Certificate.PublicKey) {
		return a, errors.New("the key is not the certificate's")
	}
	return a, nil
}

func block(text, kind string) ([]byte, error) {
	b, rest := pem.Decode([]byte(text))
	if b == nil || b.Type != kind || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("not one %s in PEM", kind)
	}
	return b.Bytes, nil
}
