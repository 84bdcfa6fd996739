# cmake -DIN=FILE -DOUT=FILE.c -DNAME=symbol -P embed.cmake: a text file as a C array with a terminating zero.
file(READ ${IN} hex HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
file(WRITE ${OUT} "const char ${NAME}[] = {${bytes}0};\n")
