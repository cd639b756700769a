// Package storetest has what tests of several packages are made of: trees of files, archives, and the backends of the host.
package storetest
