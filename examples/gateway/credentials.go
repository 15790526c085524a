// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"regexp"
)

// credential is an account at another service. Its secret goes out to that service alone.
type credential struct {
	Account string `json:"account"`
	Secret  string `json:"secret"`
}

var credentialName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// keep stores a credential.
func (s *service) keep(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	var c credential
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&c); err != nil || !credentialName.MatchString(name) {
		answer(w, http.StatusBadRequest, map[string]string{"error": "send account and secret, under a name of lower-case letters"})
		return
	}
	doc, err := json.Marshal(c)
	if err == nil {
		err = s.store.Write(name+".json", doc)
	}
	if err != nil {
		answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	answer(w, http.StatusOK, map[string]string{"account": c.Account})
}

// account tells which account a credential is for.
func (s *service) account(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if !credentialName.MatchString(name) {
		answer(w, http.StatusBadRequest, map[string]string{"error": "names are of lower-case letters"})
		return
	}
	doc, err := s.store.ReadFile(name + ".json")
	var c credential
	if err == nil {
		err = json.Unmarshal(doc, &c)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		answer(w, http.StatusNotFound, map[string]string{"error": "there is no such credential"})
	case err != nil:
		answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
	default:
		answer(w, http.StatusOK, map[string]string{"account": c.Account})
	}
}

// identity tells who this gateway is, for a device to compare when it is paired.
func (s *service) identity(w http.ResponseWriter, _ *http.Request) {
	id, err := s.device()
	if err != nil {
		answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	answer(w, http.StatusOK, map[string]string{"id": id})
}

// rotation changes the master key.
func (s *service) rotation(w http.ResponseWriter, r *http.Request) {
	if err := s.rotate(r.Context()); err != nil {
		answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	answer(w, http.StatusOK, map[string]string{"rotated": "yes"})
}
