# builtins.awk - makes of the files it is given the C array that tokenizer/template_form.h declares: each file's name without folder and
# extension, and its text.
BEGIN {
    print "#include \"tokenizer/template_form.h\""
    print "const ChatBuiltin chat_builtins[] = {"
}
FNR == 1 {
    if (n++) print "    },"
    name = FILENAME
    sub(/.*\//, "", name)
    sub(/\.chat$/, "", name)
    print "    { \"" name "\","
}
{
    line = ""
    for (i = 1; i <= length($0); i++) {
        c = substr($0, i, 1)
        line = line (c == "\\" || c == "\"" || c == "?" ? "\\" c : c)
    }
    print "        \"" line "\\n\""
}
END {
    if (n) print "    },"
    print "};"
    print "const size_t chat_builtins_n = " n + 0 ";"
}
