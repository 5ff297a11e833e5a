mapfile -t numbers <<< "$(tr -s '[:space:]' '\n' | grep . | sort -n)"
sum=0
for number in "${numbers[@]}"; do
    sum=$((sum + number))
done
echo "${numbers[*]}"
echo "sum $sum"
echo "$sum" > sum.txt
exit 3
