from bedside.faces.cli import main

main()
