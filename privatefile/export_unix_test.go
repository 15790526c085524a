// SPDX-License-Identifier: Apache-2.0

//go:build unix

package privatefile

// LinkNew is how Create gives a file its name where the file system has no RENAME_NOREPLACE.
func LinkNew(dir, from, to string) error {
	d, err := openFolder(dir)
	if err != nil {
		return err
	}
	defer d.close()
	return d.linkNew(from, to)
}

// CheckParents judges the folders above a file in dir, and gives dir without links.
func CheckParents(dir string) (string, error) { return checkParents(dir) }
