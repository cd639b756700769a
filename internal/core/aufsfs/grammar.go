//go:build linux

package aufsfs

import (
	"errors"
	"fmt"
	"strings"
)

// The data of an aufs mount has the grammar of aufs(5): "br:PATH=PERMISSION[:PATH=PERMISSION...]" and, in a remount,
// "append:PATH=PERMISSION", separated from other options by commas.

const (
	// BranchDelimiters are the characters that the path of a branch cannot have: aufs has no way to escape them.
	BranchDelimiters = ",:="

	// MaxOptionsPerCall limits the options and branches of one mount call. Since aufs moved to fs_context, the parsed options of a call are
	// an array in one page. A call that overflows the array fails with E2BIG and corrupts the kernel's memory. 84 were seen to fit.
	MaxOptionsPerCall = 64
)

// A Branch is one directory of an aufs stack.
type Branch struct {
	Path       string
	Permission string
}

func (b Branch) String() string {
	return b.Path + "=" + b.Permission
}

// Permissions of branches.
const (
	BranchWritable = "rw"
	// BranchRead is for a branch whose whiteouts and opaque directories count.
	BranchRead = "ro+wh"
	// BranchUnread is for a branch whose whiteouts and opaque directories do not count.
	BranchUnread = "ro"
)

// PathBytes returns the length of the paths of branches in all.
func PathBytes(branches []Branch) int {
	n := 0
	for _, b := range branches {
		n += len(b.Path)
	}
	return n
}

// A Call is one of the mount calls that make a stack.
type Call struct {
	Data string
	// Branches is how many branches the call adds.
	Branches int
}

// Calls returns the mount calls that make an aufs mount of branches: the first call is for a new mount, and the others are for remounts of
// it. options go into the first call, and everyCall (the SELinux context, or nothing) goes into each. No call has more than maxBytes of
// data, or more than MaxOptionsPerCall options and branches. Calls fails if a call cannot hold what has to be in it.
func Calls(branches []Branch, options []string, everyCall string, maxBytes int) ([]Call, error) {
	tail := append([]string{}, options...)
	if everyCall != "" {
		tail = append(tail, everyCall)
	}
	first, rest, err := fillCall(branches, "br:", ":", tail, maxBytes)
	if err != nil {
		return nil, err
	}
	calls := []Call{first}
	tail = nil
	if everyCall != "" {
		tail = []string{everyCall}
	}
	for len(rest) > 0 {
		var call Call
		call, rest, err = fillCall(rest, "append:", ",append:", tail, maxBytes)
		if err != nil {
			return nil, err
		}
		calls = append(calls, call)
	}
	return calls, nil
}

// fillCall packs as many of branches as fit, and at least one, into one call beside the options of tail. It returns the other branches.
func fillCall(branches []Branch, prefix, separator string, tail []string, maxBytes int) (Call, []Branch, error) {
	if len(branches) == 0 {
		return Call{}, nil, errors.New("a stack without a branch cannot be mounted")
	}
	room := maxBytes
	for _, option := range tail {
		room -= len(",") + len(option)
	}
	var data strings.Builder
	data.Grow(maxBytes)
	n := 0
	for ; n < len(branches) && n+len(tail) < MaxOptionsPerCall; n++ {
		lead := separator
		if n == 0 {
			lead = prefix
		}
		b := branches[n].String()
		if data.Len()+len(lead)+len(b) > room {
			break
		}
		data.WriteString(lead)
		data.WriteString(b)
	}
	if n == 0 {
		return Call{}, nil, fmt.Errorf("the branch %s and %d mount options (%s) do not fit into one mount call of %d bytes and %d options",
			branches[0].Path, len(tail), strings.Join(tail, ","), maxBytes, MaxOptionsPerCall)
	}
	for _, option := range tail {
		data.WriteString(",")
		data.WriteString(option)
	}
	return Call{Data: data.String(), Branches: n}, branches[n:], nil
}
