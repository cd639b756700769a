package console

import (
	"regexp"
	"strings"
)

// stamp is the time before a message, and with CONFIG_PRINTK_CALLER the
// thread or processor after it.
var stamp = regexp.MustCompile(`^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? `)

// aufsMessage is the form of all messages of aufs, the function, the line,
// the command and its process: "aufs au_br_add:234:mount[71]: ...".
var aufsMessage = regexp.MustCompile(`^aufs \w+:\d+:.+\[\d+\]: `)

// sharedUpper is what overlayfs says when a directory is mounted writable twice.
// It says the same of a lower directory that another mount writes to. Whoever
// mounts a layer and one below it asks for that, as the storage library's tests
// do.
const sharedUpper = `overlayfs: (?:upperdir|workdir) is in-use .*undefined behavior`

// provoked is what aufs and overlayfs say about what a program asked for
// wrongly.
var provoked = alternatives(aufsMessage.String(), sharedUpper)

// kernelMessage matches what a kernel writes only if something is wrong.
var kernelMessage = alternatives(
	`\bWARNING: `,
	`\bBUG: `,
	`\bkernel BUG at `,
	`^Oops\b`,
	`\bOops: `,
	`general protection fault`,
	`double fault`,
	`unable to handle`,
	`Unable to handle`,
	`Kernel panic`,
	`\bINFO: task .* blocked for more than`,
	`\bINFO: lockdep`,
	`\bINFO: rcu.* (?:stall|kthread starved)`,
	`\brcu: INFO: .*stall`,
	`soft lockup`,
	`hard LOCKUP`,
	`inconsistent lock state`,
	`circular locking dependency`,
	`suspicious RCU usage`,
	`\b(?:KASAN|KCSAN|KFENCE|KMSAN|UBSAN): `,
	`\brefcount_t: `,
	`list_(?:add|del) corruption`,
	`Bad page state`,
	`Bad rss-counter state`,
	`VFS: Busy inodes after unmount`,
	`Out of memory: `,
	`page allocation failure`,
	`segfault at `,
	`\bI/O error\b`,
	`EXT4-fs (?:error|warning)`,
	`XFS .*(?:Internal error|[Cc]orruption|Assertion failed)`,
	`BTRFS (?:error|critical|warning)`,
	// With index=on the mount is refused instead, and the message says how
	// to "override exclusive upperdir protection": a refusal is no fault.
	sharedUpper,
	`^unregister_netdevice: waiting`,
)

// ignored are messages that have one of the forms above and that are no
// fault. Whatever is added here needs its reason.
var ignored = alternatives(
	// aufs tells, at the level of information, that it rewrites a sparse
	// file of its own.
	`^aufs \w+:\d+:.+\[\d+\]: (?:begin|end) truncating xino\(`,
	// aufs says this of its option dirperm1, once, whenever it is used.
	`^aufs au_opts_verify:\d+:.+\[\d+\]: dirperm1 breaks the protection`,
	// The root directories of two branches differ in owner or mode. Whoever
	// makes layers may do that; the upper one counts.
	`^aufs test_add:\d+:.+\[\d+\]: uid/gid/perm `,
	// The initramfs of a kernel without CONFIG_DEVTMPFS has a console, and
	// one that boots without it says so with this warning; it works.
	`^Warning: unable to open an initial console`,
)

// traceLine matches the lines that follow a BUG or a WARNING.
var traceLine = alternatives(
	`^(?:R[A-Z0-9]{2}|E[A-Z]{2}|CR\d|FS|DR\d|Code|CPU|Hardware name|Modules linked in|Call Trace|PKRU|Workqueue): ?`,
	`^ (?:\?|</?[A-Z]+>|[\w.]+\+0x)`,
	`^R\d\d: `,
	`^ *\S+\+0x[0-9a-f]+/0x[0-9a-f]+`,
	`^ <`,
)

func alternatives(patterns ...string) *regexp.Regexp {
	return regexp.MustCompile(strings.Join(patterns, "|"))
}
