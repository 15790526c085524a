// SPDX-License-Identifier: Apache-2.0

package privatefile

// NewTemp makes what a writer has while it lives: a locked temporary file in dir. Letting go is what its death does.
func NewTemp(dir string) (name string, letGo func(), err error) {
	d, err := openFolder(dir)
	if err != nil {
		return "", nil, err
	}
	defer d.close()
	name, h, err := newTemp(d, Config{})
	return name, h.close, err
}

// Sweep is what a Write does first.
func Sweep(dir string) error {
	d, err := openFolder(dir)
	if err != nil {
		return err
	}
	defer d.close()
	sweep(d)
	return nil
}
