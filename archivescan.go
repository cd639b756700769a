//go:build linux

package aufs

import (
	"archive/tar"
	"errors"
	"io"
	"iter"
)

// An archiveScan passes a tar archive on, and reads it itself on the way: what was passed on has been looked at. Content of files
// is not looked at, nor copied.
type archiveScan struct {
	r io.Reader
	// resume has look go on with what is in rest, until it needs more. end has it go on at the end of the archive.
	resume func() (struct{}, bool)
	end    func()
	// wait is what resume and end end in: it is false once there is nothing more.
	wait func() bool
	// rest is what look has not had yet of what was read last, and skip how much of what comes next it does not want.
	rest []byte
	skip int64
	at   int64 // in the archive
	seen archiveContents
}

// scanArchive returns what is to be read in place of r. Its contents have to be asked for.
func scanArchive(r io.Reader) *archiveScan {
	s := &archiveScan{r: r, seen: newArchiveContents()}
	s.resume, s.end = iter.Pull(s.look)
	return s
}

// Read reads from the archive.
func (s *archiveScan) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if s.skip >= int64(n) {
		s.skip -= int64(n)
	} else {
		s.rest = p[:n]
		s.resume()
	}
	return n, err
}

// contents are those of the archive, as far as it was read. After that nothing more is looked at.
func (s *archiveScan) contents() *archiveContents {
	s.end()
	return &s.seen
}

// look reads the archive, in turns with what reads from s.
func (s *archiveScan) look(yield func(struct{}) bool) {
	s.wait = func() bool { return yield(struct{}{}) }
	r := tar.NewReader((*scanned)(s))
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			// It is no archive, or the end of it is not there.
			s.seen.unknown()
			return
		}
		s.seen.add(header)
	}
}

// scanned is what comes from an archiveScan, for look.
type scanned archiveScan

func (s *scanned) Read(p []byte) (int, error) {
	for int64(len(s.rest)) <= s.skip {
		s.skip -= int64(len(s.rest))
		s.rest = nil
		if s.wait == nil || !s.wait() {
			s.wait = nil
			return 0, io.EOF
		}
	}
	n := copy(p, s.rest[s.skip:])
	s.rest, s.skip, s.at = s.rest[s.skip:][n:], 0, s.at+int64(n)
	return n, nil
}

// Seek goes on from here: tar.Reader passes over the content of a file by it.
func (s *scanned) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return 0, errors.ErrUnsupported
	}
	s.skip += offset
	s.at += offset
	return s.at, nil
}
