// Package console finds error messages in a Linux kernel's console output.
package console

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// A Finding is a message, or several close together, with the lines around them.
type Finding struct {
	Test  string   // the last test that the guest announced; "" before the first
	Lines []string // without line ends
}

const (
	linesBefore = 3
	// linesAfter is how many lines a finding takes after its last message. A
	// trace has more, but traceLine matches most of them, and they do not
	// count.
	linesAfter = 5
	// mostLines keeps a kernel that complains without end from filling the
	// report. The lines that follow make another finding.
	mostLines = 100
)

// Scan reads a console's output to its end.
func Scan(r io.Reader) ([]Finding, error) {
	var s scanner
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			s.line(strings.TrimRight(line, "\r\n"))
		}
		if errors.Is(err, io.EOF) {
			s.end()
			return s.findings, nil
		}
		if err != nil {
			s.end()
			return s.findings, fmt.Errorf("read the console: %w", err)
		}
	}
}

// A scanner follows a console line by line.
type scanner struct {
	findings []Finding
	test     string
	expected []string // texts of messages that a test provokes
	before   []string // the last lines, none of them in a finding
	open     bool     // more lines may join current
	current  Finding
	after    int // how many lines current still takes
}

func (s *scanner) line(line string) {
	message := stamp.ReplaceAllString(line, "")
	switch {
	case s.isAnnouncement(message):
	case s.isExpected(message):
	case isBad(message):
		s.take(line)
	case s.open:
		s.follow(line, message)
	default:
		s.remember(line)
	}
}

// isAnnouncement reports whether the message is an announcement of package wire, and obeys it.
func (s *scanner) isAnnouncement(message string) bool {
	if test, ok := strings.CutPrefix(message, wire.AnnounceTest); ok {
		s.end()
		s.test = test
		return true
	}
	if text, ok := strings.CutPrefix(message, wire.AnnounceExpect); ok {
		s.expected = append(s.expected, text)
		return true
	}
	if message == wire.AnnounceExpectNone {
		s.expected = nil
		return true
	}
	return false
}

// isExpected reports whether a test provokes the message. No test can expect a
// WARNING or a BUG.
func (s *scanner) isExpected(message string) bool {
	return provoked.MatchString(message) &&
		slices.ContainsFunc(s.expected, func(text string) bool { return strings.Contains(message, text) })
}

func isBad(message string) bool {
	return !ignored.MatchString(message) &&
		(aufsMessage.MatchString(message) || kernelMessage.MatchString(message))
}

// take puts a bad line into the current finding, or into a new one.
func (s *scanner) take(line string) {
	if !s.open {
		s.current = Finding{Test: s.test, Lines: s.before}
		s.before = nil
		s.open = true
	}
	s.after = linesAfter
	s.add(line)
}

// follow adds a line after a bad line to the finding.
func (s *scanner) follow(line, message string) {
	if !traceLine.MatchString(message) {
		s.after--
	}
	if strings.HasPrefix(message, "---[ end") {
		s.after = 0
	}
	s.add(line)
}

// add adds a line to the current finding and ends the finding when it is complete.
func (s *scanner) add(line string) {
	s.current.Lines = append(s.current.Lines, line)
	if s.after == 0 || len(s.current.Lines) >= mostLines {
		s.end()
	}
}

// end ends the current finding, if there is one.
func (s *scanner) end() {
	if s.open {
		s.findings = append(s.findings, s.current)
		s.open = false
	}
}

func (s *scanner) remember(line string) {
	s.before = append(s.before, line)
	if len(s.before) > linesBefore {
		s.before = s.before[1:]
	}
}

var aufsVersion = regexp.MustCompile(`(?m)^(?:\[ *\d+\.\d+\] )?aufs (\d+\S*)\r?$`)

// AufsVersion returns the version in the line that a built-in aufs writes at
// boot, or "" without such a line.
func AufsVersion(console string) string {
	if match := aufsVersion.FindStringSubmatch(console); match != nil {
		return match[1]
	}
	return ""
}
