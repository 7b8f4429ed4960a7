// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bounds, ClaimTerms, IParams as I, Values, Windows} from "../../src/interfaces/IParams.sol";
import {vm} from "../support/Vm.sol";
import {Edges} from "./Edges.sol";

contract ParamsConstructorTest is Edges {
    function _deploy(Values memory v, Bounds memory b, Windows memory w) private returns (I) {
        return I(_new("Params", abi.encode(governor, v, b, w)));
    }

    /// @dev deployCode swallows the reason, so the code is called by hand.
    function _isRefused(bytes memory reason, Values memory v, Bounds memory b, Windows memory w) private {
        bytes memory code = abi.encodePacked(vm.getCode("Params.sol:Params"), abi.encode(governor, v, b, w));
        bytes memory got;
        assembly ("memory-safe") {
            if create(0, add(code, 0x20), mload(code)) { revert(0, 0) }
            got := mload(0x40)
            mstore(got, returndatasize())
            returndatacopy(add(got, 0x20), 0, returndatasize())
            mstore(0x40, add(got, add(0x40, returndatasize())))
        }
        eq("reason", keccak256(got), keccak256(reason));
    }

    function _isOut(string memory what, uint256 value, uint256 min, uint256 max, Bounds memory b, Windows memory w)
        private
    {
        _isRefused(abi.encodeWithSelector(I.OutOfBounds.selector, what, value, min, max), values(), b, w);
    }

    function test_what_it_was_given_can_be_read() public view {
        eq("governor", params.governor(), governor);
        eq("bounds", keccak256(abi.encode(params.bounds())), keccak256(abi.encode(bounds())));
        eq("windows", keccak256(abi.encode(params.windows())), keccak256(abi.encode(windows())));
        eq("values", keccak256(abi.encode(params.valuesAt(0))), keccak256(abi.encode(values())));
        ClaimTerms memory terms = params.claimTermsAt(0);
        eq("protocol", terms.protocolPpm, values().protocolPpm);
        eq("data", terms.dataPpm, values().dataPpm);
        eq("stake", terms.minStake, values().minStake);
        eq("draws", params.drawsAt(0), values().draws);
    }

    function test_initial_values_are_within_bounds() public {
        for (uint256 i = 0; i < edges.length; ++i) {
            _isRefused(_outOfBounds(edges[i]), edges[i].bad, bounds(), windows());
            _deploy(edges[i].good, bounds(), windows());
        }
    }

    /// @dev F: shares that can sum to all leave a node nothing to lose, and governance everything to take.
    function test_the_largest_shares_together_leave_the_node_something() public {
        Bounds memory b = bounds();
        b.royaltyPpmMax = 600_000;
        _isOut("sum of the shares' maxima", 1_000_000, 0, 999_999, b, windows());
    }

    /// @dev F: a fee that the node's share does not cover would be free from some draw on.
    function test_the_nodes_smallest_share_covers_the_fee_of_a_draw() public {
        Bounds memory b = bounds();
        b.royaltyPpmMax = 450_001;
        _isRefused(abi.encodeWithSelector(I.LapseFeeNotCovered.selector, 149_999, 150_000), values(), b, windows());
        b.royaltyPpmMax = 450_000;
        _deploy(values(), b, windows());
    }

    function test_bounds_are_in_order() public {
        Bounds memory b = bounds();
        b.minStakeMin = 0;
        _isOut("minStakeMin", 0, 1, b.minStakeMax, b, windows());
        b = bounds();
        b.minStakeMin = b.minStakeMax + 1;
        _isOut("minStakeMin", b.minStakeMin, 1, b.minStakeMax, b, windows());
        b = bounds();
        b.minDepositMin = 0;
        _isOut("minDepositMin", 0, 1, b.minDepositMax, b, windows());
        b = bounds();
        b.minDepositMin = b.minDepositMax + 1;
        _isOut("minDepositMin", b.minDepositMin, 1, b.minDepositMax, b, windows());
        b = bounds();
        b.dataPpmMin = 0;
        _isOut("dataPpmMin", 0, 1, b.dataPpmMax, b, windows());
        b.dataPpmMin = b.dataPpmMax + 1;
        _isOut("dataPpmMin", b.dataPpmMin, 1, b.dataPpmMax, b, windows());
        b = bounds();
        b.adapterBondMin = b.adapterBondMax + 1;
        _isOut("adapterBondMin", b.adapterBondMin, 0, b.adapterBondMax, b, windows());
    }

    /// @dev F: a time that cannot be added to another in 64 bits keeps a deposit or a stake for ever, and one shorter
    /// than its part of an epoch leaves nobody the time to act.
    function test_windows_are_neither_too_short_nor_too_long() public {
        uint256 most = 3650 days;
        string[7] memory names = [
            "propose",
            "window",
            "slashGap",
            "unbonding",
            "withdrawDelayMax",
            "withdrawDelayMin",
            "withdrawPeriod"
        ];
        uint64[7] memory least = [uint64(1 days), 1 hours, 1 days, 1 days, 8 hours, 8 hours, 1 days];
        for (uint256 i = 0; i < names.length; ++i) {
            uint256 max = i == 5 ? windows().withdrawDelayMax : most;
            _isOut(names[i], least[i] - 1, least[i], max, bounds(), _windowsWith(i, least[i] - 1));
            _isOut(names[i], max + 1, least[i], max, bounds(), _windowsWith(i, uint64(max + 1)));
        }
        Windows memory w = windows();
        w.epoch = 23;
        _isOut("epoch", 23, 24, most, bounds(), w);
        w.epoch = uint64(most + 1);
        _isOut("epoch", most + 1, 24, most, bounds(), w);
    }

    /// @dev F: the hash of a block can be read for 256 blocks. After that, nobody could show what it has drawn.
    function test_a_draw_stands_no_longer_than_its_hash_can_be_read() public {
        Windows memory w = windows();
        w.redrawBlocks = 257;
        _isOut("redrawBlocks", 257, 16, 256, bounds(), w);
        w.redrawBlocks = 15;
        _isOut("redrawBlocks", 15, 16, 256, bounds(), w);
        w.redrawBlocks = 16;
        _deploy(values(), bounds(), w);
    }

    function test_a_development_chain_may_have_short_times() public {
        Windows memory w = Windows({
            epoch: 30,
            propose: 60,
            window: 10,
            redrawBlocks: 16,
            slashGap: 60,
            unbonding: 120,
            withdrawDelayMin: 40,
            withdrawDelayMax: 40,
            withdrawPeriod: 60
        });
        _deploy(values(), bounds(), w);
    }

    function _windowsWith(uint256 i, uint64 value) private pure returns (Windows memory w) {
        w = windows();
        if (i == 0) w.propose = value;
        if (i == 1) w.window = value;
        if (i == 2) w.slashGap = value;
        if (i == 3) w.unbonding = value;
        if (i == 4) w.withdrawDelayMax = value;
        if (i == 5) w.withdrawDelayMin = value;
        if (i == 6) w.withdrawPeriod = value;
    }

    function test_governance_chooses_an_algorithm_that_is_defined() public {
        Values memory v = values();
        uint32[5] memory unknown = [uint32(0), 2, 8, 256, type(uint32).max];
        for (uint256 i = 0; i < unknown.length; ++i) {
            v.algoId = unknown[i];
            _isRefused(abi.encodeWithSelector(I.UnknownAlgorithm.selector, unknown[i]), v, bounds(), windows());
        }
        uint32[4] memory known = [uint32(1), 4, 5, 7];
        for (uint256 i = 0; i < known.length; ++i) {
            v.algoId = known[i];
            _deploy(v, bounds(), windows());
        }
    }
}
