// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bounds, IParams as I, Values} from "../../src/interfaces/IParams.sol";
import {World} from "../support/World.sol";

/// @notice Values one step outside and one on each edge.
abstract contract Edges is World {
    struct Edge {
        string what;
        Values bad;
        Values good;
        uint256 given;
        uint256 min;
        uint256 max;
    }

    Edge[] internal edges;

    function setUp() public override {
        super.setUp();
        Bounds memory b = bounds();
        Values memory bad = values();
        Values memory good = values();
        (bad.protocolPpm, good.protocolPpm) = (b.protocolPpmMax + 1, b.protocolPpmMax);
        _push("protocolPpm", bad, good, b.protocolPpmMax + 1, 0, b.protocolPpmMax);
        (bad.dataPpm, good.dataPpm) = (b.dataPpmMax + 1, b.dataPpmMax);
        _push("dataPpm", bad, good, b.dataPpmMax + 1, b.dataPpmMin, b.dataPpmMax);
        (bad.dataPpm, good.dataPpm) = (b.dataPpmMin - 1, b.dataPpmMin);
        _push("dataPpm", bad, good, b.dataPpmMin - 1, b.dataPpmMin, b.dataPpmMax);
        (bad.minStake, good.minStake) = (b.minStakeMin - 1, b.minStakeMin);
        _push("minStake", bad, good, b.minStakeMin - 1, b.minStakeMin, b.minStakeMax);
        (bad.minStake, good.minStake) = (b.minStakeMax + 1, b.minStakeMax);
        _push("minStake", bad, good, b.minStakeMax + 1, b.minStakeMin, b.minStakeMax);
        (bad.minDeposit, good.minDeposit) = (b.minDepositMin - 1, b.minDepositMin);
        _push("minDeposit", bad, good, b.minDepositMin - 1, b.minDepositMin, b.minDepositMax);
        (bad.minDeposit, good.minDeposit) = (b.minDepositMax + 1, b.minDepositMax);
        _push("minDeposit", bad, good, b.minDepositMax + 1, b.minDepositMin, b.minDepositMax);
        (bad.adapterBond, good.adapterBond) = (b.adapterBondMax + 1, b.adapterBondMax);
        _push("adapterBond", bad, good, b.adapterBondMax + 1, b.adapterBondMin, b.adapterBondMax);
        (bad.creditTokensMax, good.creditTokensMax) = (0, 1);
        _push("creditTokensMax", bad, good, 0, 1, b.creditTokensMax);
        (bad.creditTokensMax, good.creditTokensMax) = (b.creditTokensMax + 1, b.creditTokensMax);
        _push("creditTokensMax", bad, good, b.creditTokensMax + 1, 1, b.creditTokensMax);
        (bad.draws, good.draws) = (3, 4);
        _push("draws", bad, good, 3, 4, 16);
        (bad.draws, good.draws) = (17, 16);
        _push("draws", bad, good, 17, 4, 16);
        (bad.leastContext, good.leastContext) = (0, 1);
        _push("leastContext", bad, good, 0, 1, b.leastContextMax);
        (bad.leastContext, good.leastContext) = (b.leastContextMax + 1, b.leastContextMax);
        _push("leastContext", bad, good, b.leastContextMax + 1, 1, b.leastContextMax);
        (bad.guidePrice, good.guidePrice) = (b.guidePriceMax + 1, b.guidePriceMax);
        _push("guidePrice", bad, good, b.guidePriceMax + 1, 0, b.guidePriceMax);
    }

    /// @dev `bad` and `good` are used again: whatever the last edge changed goes back.
    function _push(string memory what, Values memory bad, Values memory good, uint256 given, uint256 min, uint256 max)
        private
    {
        edges.push(Edge({what: what, bad: bad, good: good, given: given, min: min, max: max}));
        Values memory sound = values();
        (bad.protocolPpm, bad.dataPpm) = (sound.protocolPpm, sound.dataPpm);
        (bad.minStake, bad.minDeposit, bad.adapterBond) = (sound.minStake, sound.minDeposit, sound.adapterBond);
        (bad.creditTokensMax, bad.draws) = (sound.creditTokensMax, sound.draws);
        (bad.leastContext, bad.guidePrice) = (sound.leastContext, sound.guidePrice);
    }

    function _outOfBounds(Edge memory edge) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(I.OutOfBounds.selector, edge.what, edge.given, edge.min, edge.max);
    }
}
