package main

import "os"

func scriptDefinition() { os.Exit(2) }
