// Command ask says hello to a unix socket, as often as it is told, and prints the
// answers. Told 0 times, it connects and waits for the other side to end it.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
)

func main() {
	n, err := strconv.Atoi(os.Args[2])
	for i := 0; err == nil && i < max(n, 1); i++ {
		err = ask(os.Args[1], n > 0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func ask(path string, hello bool) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	if hello {
		if _, err := io.WriteString(conn, "hello\n"); err != nil {
			return err
		}
	}
	_, err = io.Copy(os.Stdout, conn)
	return err
}
