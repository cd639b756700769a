package layout

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
)

// EachMember calls do with each member of an archive until do returns an error.
// It then reads what follows the last member, so that a program that writes the
// archive into a pipe does not wait.
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
