package layout

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
)

// EachMember calls do with each member of an archive, for as long as it returns
// no error, and then reads what follows the last one: who writes the archive
// into a pipe must not be left waiting.
func EachMember(archive io.Reader, do func(*tar.Header, io.Reader) error) error {
	tr := tar.NewReader(archive)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, archive)
			return err
		}
		if err != nil {
			return err
		}
		if err := do(h, tr); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}
