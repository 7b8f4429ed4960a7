// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ClaimRecord, NOBODY, Payout, Pot, PPM} from "../interfaces/Types.sol";

/// @notice A drawn point of a payout list: the place `offset` in the entry of `account` in the list of a pot.
struct Point {
    uint256 pot;
    address account;
    uint256 offset;
}

/// @title The points of a payout list that a seed draws
/// @notice First a pot, with the chance of its amount, then a place in its list, with the chance of its weight. So a
/// part f of all money that no receipts can show is missed by K points with the chance (1 − f)^K.
library Draws {
    /// @notice The money that can be drawn. Without any, or without a list, there is nothing to show.
    function sumOf(Pot[] calldata pots) internal pure returns (uint128 sum) {
        for (uint256 i = 0; i < pots.length; ++i) sum += pots[i].amount;
    }

    /// @notice The point that the number `j` draws. `total` is {sumOf} the claim's pots, and not 0.
    function pointAt(
        bytes32 seed,
        ClaimRecord calldata record,
        Payout[] calldata payouts,
        uint256 total,
        uint256 j
    ) internal pure returns (Point memory point) {
        bytes32 random = keccak256(abi.encode(seed, record.node, record.seq, j));
        uint256 money = uint256(random) % total;
        while (money >= record.pots[point.pot].amount) money -= record.pots[point.pot++].amount;
        // Hashed again, since a list of a large token is longer than the bits that the first number leaves.
        uint256 whole = PPM * record.pots[point.pot].gross;
        (point.account, point.offset) = _entryAt(payouts, point.pot, uint256(keccak256(abi.encode(random))) % whole);
    }

    /// @dev The weights of a listed pot sum to the whole, so a place that is in no entry is in a pot that is not
    /// listed.
    function _entryAt(Payout[] calldata payouts, uint256 pot, uint256 place) private pure returns (address, uint256) {
        for (uint256 i = 0; i < payouts.length; ++i) {
            Payout calldata payout = payouts[i];
            if (payout.pot != pot) continue;
            if (place < payout.weight) return (payout.account, place);
            place -= payout.weight;
        }
        return (NOBODY, 0);
    }
}
