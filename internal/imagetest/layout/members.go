package layout

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
)

// EachMember calls do with each member of an archive until do returns an error.
// After the last member it reads what follows, so that a program that writes the
// archive into a pipe does not wait. After an error it reads nothing more.
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
